# Who wins where: cells of two axes, one map for each value of a third. Columns: panel,
# x, y (names), panel, x, y (numbers from 0), winner (number from 1), its name, margin in %.
panels = 0
widest = 6
across = 0
down = 0
winners = 0
stats data skip 1 using (panels = $4 > panels ? $4 : panels, across = $5 > across ? $5 : across, \
                         down = $6 > down ? $6 : down, winners = $7 > winners ? $7 : winners, \
                         widest = strlen(strcol(8)) > widest ? strlen(strcol(8)) : widest, 1) nooutput
panels = int(panels)
array who[winners]
do for [k = 1:winners] { who[k] = "" }
array over[across + 1]
array up[down + 1]
array above[panels + 1]
do for [i = 0:across] { over[i + 1] = "" }
do for [i = 0:down] { up[i + 1] = "" }
do for [i = 0:panels] { above[i + 1] = "" }
stats data skip 1 using (who[$7] = strcol(8), over[$5 + 1] = strcol(2), \
                         up[$6 + 1] = strcol(3), above[$4 + 1] = strcol(1), 1) nooutput
beside_one = narrow || panels == 0
per_row = beside_one ? 1 : (panels + 1 < 3 ? panels + 1 : 3)
lines_of = ceil((panels + 1.0) / per_row)
one = 110 + 30 * (down + 1)
below = 22 * key_rows(winners, widest) + 72
total = 34.0 + one * lines_of + below - 54
eval open(total)
shade(k) = who[k] eq "tie" ? "#999999" : colour(k)
# What can be read on it: white on the one dark colour, else black.
on(k) = shade(k) eq colour(1) ? 0xffffff : 0
do for [k = 1:winners] { set linetype k lc rgb shade(k) }
set output out
set multiplot title heading textcolor rgb ink
unset grid
set border 0
set tics scale 0
set style fill solid 1.0 border rgb "#ffffff"
set xrange [-0.5:across + 0.5]
set yrange [-0.5:down + 0.5]
set xtics ("" 0)
set ytics ("" 0)
do for [i = 0:across] { set xtics add (over[i + 1] i) }
do for [i = 0:down] { set ytics add (up[i + 1] i) }
used = 0
do for [k = 1:winners] {
    if (who[k] eq "") { continue }
    used = used + 1
    key_name[used] = cut(who[k])
    key_colour[used] = shade(k)
    key_point[used] = 5
}
do for [p = 0:panels] {
    if (p == panels) { eval key(used, widest) }
    set title above[p + 1] font ",12" offset 0, -0.6
    column_of = p % per_row
    line_of = p / per_row
    top = 1 - (34.0 + 24 + one * line_of) / total
    set tmargin at screen top
    set bmargin at screen top - (one - 24 - 50.0) / total
    set lmargin at screen (column_of + (narrow ? 0.24 : per_row == 1 ? 0.14 : 0.3)) / per_row
    set rmargin at screen (column_of + 0.97) / per_row
    if (column_of == 0) { set ylabel y_name offset 1, 0 } else { unset ylabel }
    plot data skip 1 using ($4 == p ? $5 : NaN):6:($5 - 0.5):($5 + 0.5):($6 - 0.5):($6 + 0.5):7 \
            with boxxyerror lc variable, \
        data skip 1 using ($4 == p ? $5 : NaN):6:(sprintf("%.0f", $9)):(on(int($7))) with labels \
            font ",11" textcolor rgb variable
}
unset multiplot
