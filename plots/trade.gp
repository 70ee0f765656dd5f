# What is lost for speed: marks joined by lines, in a panel for each of two losses, which
# share the axis of time. Columns: name, group (from 1; 0: control, -1: changes nothing),
# the group's name, text beside the mark, its side in the wide drawing and in the narrow one
# (0 none, 1 right, 2 left, 3 above, 4 below), gate mass lost (%), rows that lose their best
# expert (%), time, front (1: on it; -1: the line goes there, and the mark is another row's).
# An empty line ends a line of marks.
stats data skip 1 using 2 name "g" nooutput
stats data skip 1 using 7 name "mass" nooutput
stats data skip 1 using 8 name "best" nooutput
stats data skip 1 using 9 name "time" nooutput
groups = g_max > 0 ? int(g_max) : 0
both = best_max > 0
grey = "#8C8C8C"
green = "#009E73"
# The key: what is not there has no entry.
keys = 0
letters = 8
entry(name, c, p) = sprintf("keys = keys + 1; key_name[keys] = \"%s\"; \
    key_colour[keys] = \"%s\"; key_point[keys] = %d; \
    letters = strlen(key_name[keys]) > letters ? strlen(key_name[keys]) : letters", name, c, p)
array group_name[groups + 2]
do for [i = 1:groups + 2] { group_name[i] = "" }
stats data skip 1 using (group_name[int(column(2)) + 2] = strcol(3), 1) nooutput
mark(i) = i < 1 ? (i == 0 ? 5 : 4) : word("7 9 13 11 15", (i - 1) % 5 + 1) + 0
# Grey is the controls', green the front's.
hue(i) = i < 1 ? grey : word("#0072B2 #D55E00 #CC79A7 #E69F00 #56B4E9 #9467BD #8B5A2B", (i - 1) % 7 + 1)
do for [i = -1:groups] {
    if (group_name[i + 2] ne "") { eval entry(group_name[i + 2], hue(i), mark(i)) }
}
eval entry("front", green, 6)
panels = both ? 2 : 1
down = narrow && both
high = narrow ? 210 : 320
eval frame(down ? 2 * high + 60 : high, y_room, keys, letters)
eval key(keys, letters)
room(low, top) = top > low ? top - low : top != 0 ? abs(top) : 1
y_low = time_min - 0.1 * room(time_min, time_max)
y_top = time_max + 0.1 * room(time_min, time_max)
low(least) = least < 0 ? least : 0
side = narrow ? 6 : 5
of(i, c) = (int(column(2)) == i ? column(c) : NaN)
seen(i, c) = (column(10) < 0 ? NaN : of(i, c))
on(c) = (column(10) == 1 ? column(c) : NaN)
said(k) = (int(column(side)) == k ? strcol(4) : "")
left_edge = 1.0 * y_room / width
right_edge = narrow ? 0.93 : 0.96
gap = 34.0 / width
half = (right_edge - left_edge - gap) / 2
unset title
set label 99 heading at screen 0.5, screen 1 - 20 / total center textcolor rgb ink
set multiplot
do for [panel = 1:panels] {
    loss = panel == 1 ? 7 : 8
    most = panel == 1 ? mass_max : best_max
    least = panel == 1 ? mass_min : best_min
    span = room(low(least), most)
    set xrange [low(least) - 0.05 * span : most + 0.12 * span]
    set yrange [y_low:y_top]
    set xtics 0, round_up(span / (narrow || both ? 5.0 : 9.0))
    if (panel == 2) {
        unset label 99
        do for [k = 1:keys] { unset label 100 + k }
        set xlabel "rows that lose their best expert (%)"
    }
    if (down) {
        set tmargin at screen 1 - (34.0 + (panel - 1) * (high + 60)) / total
        set bmargin at screen 1 - (34.0 + high + (panel - 1) * (high + 60)) / total
    }
    if (both && !down) {
        set lmargin at screen left_edge + (panel - 1) * (half + gap)
        set rmargin at screen left_edge + half + (panel - 1) * (half + gap)
    }
    if (panel == 2 && !down) {
        unset ylabel
        set format y ""
    }
    plot for [i = -1:0] data skip 1 using loss:(of(i, 9)) with lines lw 1.3 dt 2 lc rgb grey, \
        for [i = 1:groups] data skip 1 using loss:(of(i, 9)) with lines lw 1.8 lc rgb hue(i), \
        for [i = -1:groups] data skip 1 using loss:(seen(i, 9)) with points pt mark(i) \
            ps (i < 1 ? 0.7 : 0.9) lc rgb hue(i), \
        data skip 1 using loss:(on(9)) with points pt 6 ps 1.7 lw 1.2 lc rgb green, \
        data skip 1 using (panel == 1 ? column(loss) : NaN):9:(said(1)) with labels left offset 1.4, 0 \
            font ",11" textcolor rgb ink, \
        data skip 1 using (panel == 1 ? column(loss) : NaN):9:(said(2)) with labels right offset -1.4, 0 \
            font ",11" textcolor rgb ink, \
        data skip 1 using (panel == 1 ? column(loss) : NaN):9:(said(3)) with labels center offset 0, 0.95 \
            font ",11" textcolor rgb ink, \
        data skip 1 using (panel == 1 ? column(loss) : NaN):9:(said(4)) with labels center offset 0, -0.95 \
            font ",11" textcolor rgb ink
}
unset multiplot
