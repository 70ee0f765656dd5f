# Stacked bars, a row each. Columns: name, then the parts, whose heads name them.
# The same part has the same colour in all figures: work is blue or green, waiting red.
names = "'dense compute' 'expert compute' 'experts in place' 'exposed copy' " . \
    "'exposed communication' 'imbalance wait' 'launch and host' 'in time' 'late' 'not used' 'misses made'"
shades = "#4477AA #66CCEE #228833 #EE6677 #AA3377 #CCBB44 #999999 #228833 #CCBB44 #EE6677 #AA3377"
place(s) = (p = 0, (sum [k = 1:words(names)] (word(names, k) eq s ? (p = k) : 0)), p)
shade(s, i) = place(s) > 0 ? word(shades, place(s)) : colour(i)
up_to(i) = (sum [k = 2:i] column(k))
most = 0
stats data skip 1 using (most = up_to(1 + series) > most ? up_to(1 + series) : most) nooutput
eval frame(24 * rows, beside, series, widest)
set xrange [0:most > 0 ? 1.1 * most : 1]
set xtics step(most)
set yrange [rows - 0.4:-0.6]
set grid noytics
set ytics scale 0
do for [i = 1:series] {
    key_name[i] = head[i + 1]
    key_colour[i] = shade(head[i + 1], i)
    key_point[i] = 5
}
if (series > 1) { eval key(series, widest) }
set style fill solid 1.0 border rgb "#ffffff"
plot for [i = 2:1 + series] data skip 1 \
    using (up_to(i)):0:(i == 2 ? 0 : up_to(i - 1)):(up_to(i)):($0 - 0.38):($0 + 0.38):ytic(cut(strcol(1))) \
    with boxxyerror lc rgb shade(head[i], i - 1), \
    data skip 1 using (up_to(1 + series)):0:(sprintf(" %.3g", up_to(1 + series))) \
    with labels left textcolor rgb ink
