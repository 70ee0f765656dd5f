# One strip for each name, all on the same scales. Columns: x, then one for each name,
# which is its head.
strip = narrow ? 64 : 58
below = 52
total = 34 + strip * series + below
eval open(total)
set output out
lowest = 1e300
highest = 0
first = 1e300
last = 0
do for [i = 2:1 + series] {
    stats data skip 1 using 1:i nooutput
    lowest = STATS_min_y < lowest ? STATS_min_y : lowest
    highest = STATS_max_y > highest ? STATS_max_y : highest
    first = STATS_min_x < first ? STATS_min_x : first
    last = STATS_max_x > last ? STATS_max_x : last
}
set multiplot title heading textcolor rgb ink
unset title
set lmargin narrow ? 8 : 10
set rmargin 2
set xrange [first:last > first ? last : first + 1]
if (lowest > 0 && highest > 12 * lowest) {
    set logscale y
    set yrange [lowest / 1.2:highest * 1.3]
    set ytics 10
} else {
    set yrange [0:1.25 * highest]
    set ytics highest > 0 ? highest / 2.0 : 1
    set format y "%.2g"
}
set ytics font ",10"
do for [i = 1:series] {
    top = 1 - (30.0 + strip * (i - 1)) / total
    set tmargin at screen top
    set bmargin at screen top - (strip - 8.0) / total
    set label 1 cut(head[i + 1]) at graph 0.01, graph 0.84 front textcolor rgb ink
    if (i == series) {
        set xlabel x_name offset 0, 0.3 textcolor rgb ink
        set format x "%g"
    } else {
        unset xlabel
        set format x ""
    }
    if (i == int((series + 1) / 2)) { set ylabel y_name textcolor rgb ink } else { unset ylabel }
    plot data skip 1 using 1:i + 1 with lines lw 1.1 lc rgb "#0072B2"
}
unset multiplot
