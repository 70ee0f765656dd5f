# Lines over an axis. Columns: x, whose head is the axis's name, then one for each name,
# which is its head; a column "knee" has marks.
eval frame(narrow ? 210 : 290, y_room, series, widest)
set xlabel x_name eq "" ? head[1] : x_name
is_knee(i) = substr(head[i], 1, 4) eq "knee"
set autoscale xfix
set yrange [0:*]
if (y_name eq "hits (% of accesses)") { set yrange [0:100] }
if (log_wanted) { set logscale x 2 }
do for [i = 1:series] {
    key_name[i] = head[i + 1]
    key_colour[i] = colour(i)
    key_point[i] = point(i)
}
eval key(series, widest)
set offsets 0, 0, graph 0.05, 0
plot for [i = 2:1 + series] data skip 1 using 1:i with linespoints pt point(i - 1) \
    ps (is_knee(i) ? 1.8 : rows > 40 ? 0 : 0.5) \
    lw (is_knee(i) ? 2 : 1.8) lc rgb colour(i - 1)
