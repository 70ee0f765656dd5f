# Numbered points. Columns: name, number, x, y, sort (0: beaten, 1: on the front, 2: a
# bound), the front's in the order of x.
eval frame(narrow ? 250 : 340, y_room, 3, 17)
set autoscale xfix
set offsets graph 0.08, graph 0.1, graph 0.1, 0
set yrange [0<*:*]
if (log_wanted) { set logscale x }
key_name[1] = "front"
key_name[2] = "beaten by another"
key_name[3] = "bound"
do for [i = 1:3] {
    key_colour[i] = word("#009E73 #56B4E9 #888888", i)
    key_point[i] = i == 3 ? 6 : 7
}
eval key(3, 17)
of(sort, i) = (column(5) == sort ? column(i) : NaN)
named = !narrow && rows <= 12
text(s) = " " . strcol(2) . (named ? " " . s : "") . " "
plot data skip 1 using 3:(of(1, 4)) with steps lw 1.4 lc rgb "#009E73", \
    data skip 1 using 3:(of(0, 4)) with points pt 7 ps 0.7 lc rgb "#56B4E9", \
    data skip 1 using 3:(of(1, 4)) with points pt 7 ps 1.0 lc rgb "#009E73", \
    data skip 1 using 3:(of(2, 4)) with points pt 6 ps 1.0 lc rgb "#888888", \
    data skip 1 using 3:4:(rows > 40 && column(5) != 1 ? "" : text(cut(strcol(1)))) with labels left offset 0.3, 0.4 \
        font ",11" textcolor rgb ink
