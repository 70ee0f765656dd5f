# How values spread, a row each. Columns: name, then the 5th, 25th, 50th, 75th, 95th and
# 99th percentile.
most = 0
stats data skip 1 using (most = $7 > most ? $7 : most) nooutput
eval frame(24 * rows, beside, 4, 10)
set yrange [rows - 0.4:-0.6]
set grid noytics
set ytics scale 0
if (log_wanted) { set logscale x } else { set xrange [0:1.05 * most]; set xtics step(most) }
do for [i = 1:4] {
    key_colour[i] = word("#888888 #56B4E9 #0072B2 #D55E00", i)
    key_point[i] = i == 4 ? 13 : 5
}
key_name[1] = "5 to 95 %"
key_name[2] = "25 to 75 %"
key_name[3] = "median"
key_name[4] = "99 %"
eval key(4, 10)
set style fill solid 1.0 border rgb "#ffffff"
plot data skip 1 using 2:0:2:6:($0):($0):ytic(cut(strcol(1))) with xyerrorbars pt -1 lw 1.6 \
        lc rgb "#888888", \
    data skip 1 using 4:0:3:5:($0 - 0.28):($0 + 0.28) with boxxyerror lc rgb "#56B4E9" \
       , \
    data skip 1 using 4:0:4:4:($0 - 0.36):($0 + 0.36) with xyerrorbars pt -1 lw 2.2 \
        lc rgb "#0072B2", \
    data skip 1 using 7:0 with points pt 13 ps 0.8 lc rgb "#D55E00"
