# What all figures share; then draws one kind. Called as
#   gnuplot -d -c figure.gp KIND.gp DATA.csv OUT TERMINAL WIDTH TITLE XLABEL YLABEL SERIES
# TERMINAL is svg or pdf, WIDTH in pixels (of 1/100 inch in a PDF), SERIES the number of
# columns that are drawn, with " log" behind it where the values want a logarithmic scale.
kind = ARG1
data = ARG2
out = ARG3
terminal = ARG4
width = ARG5 + 0
heading = ARG6
series = word(ARG9, 1) + 0
log_wanted = words(ARG9) > 1
x_name = ARG7
y_name = ARG8
narrow = width < 500
set encoding utf8
set datafile separator comma

# Opens the drawing.
open(height) = terminal eq "pdf" ? \
    sprintf("set terminal pdfcairo size %.2fin,%.2fin noenhanced font 'Helvetica,9'", \
            width / 100.0, height / 100.0) : \
    sprintf("set terminal svg size %d,%d dynamic noenhanced font 'Helvetica,%d' " . \
            "background rgb '#ffffff' linewidth 1.2", width, height, narrow ? 12 : 13)

# Names of policies are cut to what a row has room for.
name_room = narrow ? 17 : 30
cut(s) = strlen(s) > name_room ? s[1:name_room - 2] . ".." : s
# Rows of the data, and the longest name in the first column.
rows = 0
longest = 4
stats data skip 1 using (l = strlen(cut(strcol(1))), longest = l > longest ? l : longest, \
                         rows = rows + 1, l) nooutput

# The heads of the columns.
array head[series + 1]
do for [i = 1:series + 1] {
    stats data every ::0::0 using (head[i] = strcol(i), 1) nooutput
}
widest = 4
do for [i = 2:series + 1] { widest = strlen(head[i]) > widest ? strlen(head[i]) : widest }

# Okabe and Ito's colours without yellow and black: told apart by colour-blind readers
# too, and on a dark page.
array series_colour[8] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", \
                          "#56B4E9", "#8C8C8C", "#9467BD"]
array series_point[8] = [7, 5, 9, 13, 11, 15, 6, 4]
colour(i) = series_colour[(i - 1) % 8 + 1]
point(i) = series_point[(i - 1) % 8 + 1]

# A key below the plot, of names up to so many letters: how many stand in a row, and how
# many rows it takes. (gnuplot's own leaves names out where it finds no room for them.)
key_across(letters) = int((width - 24) / (38 + 7.6 * letters)) < 1 ? 1 : \
    int((width - 24) / (38 + 7.6 * letters))
key_rows(names, letters) = ceil(1.0 * names / key_across(letters))
array key_name[32]
array key_colour[32]
array key_point[32]
# Writes the first `names` of these.
key(names, letters) = sprintf("do for [k = 1:%d] { set label 100 + k key_name[k] \
    at screen (24.0 + (38 + 7.6 * %d) * ((k - 1) %% %d)) / width, \
    screen (below - 76.0 - 22 * ((k - 1) / %d)) / total \
    left offset 1.2, 0 point pt key_point[k] ps 1.2 lc rgb key_colour[k] \
    textcolor rgb ink }", names, letters, key_across(letters), key_across(letters))

# Opens a drawing whose plot is `high` pixels high, with `left` pixels before it, `names`
# names up to `letters` letters in a key below.
frame(high, left, names, letters) = sprintf("below = %d + 22 * key_rows(%d, %d) + 14; \
    total = 34.0 + %d + below; \
    eval open(total); \
    set tmargin at screen 1 - 34 / total; \
    set bmargin at screen below / total; \
    set lmargin at screen %f; \
    set rmargin at screen %f; \
    set output out", \
    66, names, letters, high, 1.0 * left / width, narrow ? 0.93 : 0.95)
# Pixels for an axis of numbers and its name, which gnuplot leaves out where it finds no
# room for it.
y_room = narrow ? 76 : 90
# Pixels that the names of rows take.
beside = 14 + (narrow ? 7.0 : 7.4) * longest
# A step of the axis from 0 to `most` that leaves room for its numbers.
round_up(x) = 10 ** floor(log10(x)) * (x / 10 ** floor(log10(x)) <= 1 ? 1 : \
    x / 10 ** floor(log10(x)) <= 2 ? 2 : x / 10 ** floor(log10(x)) <= 5 ? 5 : 10)
step(most) = most > 0 ? round_up(most / (narrow ? 3.0 : 9.0)) : 1

ink = "#333333"
set border 3 lw 0.8 lc rgb "#888888"
set tics nomirror out textcolor rgb ink
set grid lc rgb "#e4e4e4" lt 1 lw 0.7
unset key
set xlabel x_name offset 0, 0.4 textcolor rgb ink
set ylabel y_name textcolor rgb ink
set title heading offset 0, -0.4 textcolor rgb ink
load kind
