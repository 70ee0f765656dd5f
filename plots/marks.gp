# A bar and marks, a row each. Columns: name, the bar, then the marks, whose heads name
# them.
most = 0
do for [i = 2:1 + series] {
    stats data skip 1 using (most = column(i) > most ? column(i) : most) nooutput
}
eval frame(26 * rows, beside, series, widest)
set xrange [0:most > 0 ? 1.1 * most : 1]
set xtics step(most)
set yrange [rows - 0.4:-0.6]
set grid noytics
set ytics scale 0
do for [i = 1:series] {
    key_name[i] = head[i + 1]
    key_colour[i] = i == 1 ? "#B8C4D0" : colour(i == 2 ? 2 : 1)
    key_point[i] = i == 1 ? 5 : i == 2 ? 13 : 7
}
eval key(series, widest)
set style fill solid 1.0 border rgb "#ffffff"
plot data skip 1 using 2:0:(0):2:($0 - 0.36):($0 + 0.36):ytic(cut(strcol(1))) \
        with boxxyerror lc rgb "#B8C4D0", \
    for [i = 3:1 + series] data skip 1 using i:0 with points pt (i == 3 ? 13 : 7) ps 1.1 \
        lc rgb colour(i == 3 ? 2 : 1)
