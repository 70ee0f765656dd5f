# Values as colours: a row each, columns across. Columns: name, then one for each place,
# whose head is its number.
eval frame((rows > 12 ? 17 : 22) * rows, beside, 1 + key_across(4), 4)
set xrange [-0.5:series - 0.5]
set yrange [rows - 0.5:-0.5]
unset grid
set border 0
set tics scale 0
# As many numbers as stand beside each other.
room = narrow ? 8 : 24
nth = ceil(1.0 * series / room)
set xtics ("" 0)
do for [i = 0:series - 1:nth] { set xtics add (head[i + 2] i) }
set palette defined (0 "#e8f0f8", 0.25 "#9ecae1", 0.5 "#4292c6", 0.75 "#d98032", 1 "#8c2d04")
unset ylabel
set label 2 y_name at screen 0.5, screen 12 / total center textcolor rgb ink
set colorbox horizontal user origin screen 0.2, screen 50 / total size screen 0.6, screen 9 / total
set cbtics offset 0, 0.6 textcolor rgb ink
if (narrow) { set cbtics autofreq }
if (log_wanted) { set logscale cb }
set style fill solid 1.0 noborder
plot for [i = 0:series - 1] data skip 1 \
    using (i):0:(i - 0.5):(i + 0.5):($0 - 0.46):($0 + 0.46):(column(i + 2)):ytic(cut(strcol(1))) \
    with boxxyerror lc palette
