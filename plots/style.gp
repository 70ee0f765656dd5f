# What all figures share. Called as  gnuplot -d -c FIGURE.gp FOLDER DATA.csv OUT.svg SERIES
# with FOLDER the one of these scripts; each figure loads this file first.
set terminal svg size width, height dynamic noenhanced font "Helvetica,13" \
    background rgb "#ffffff" linewidth 1.2
set encoding utf8
set datafile separator comma
set border 3 lw 0.8 lc rgb "#888888"
set tics nomirror out textcolor rgb "#333333"
set grid lc rgb "#e4e4e4" lt 1 lw 0.7
set key outside bottom center horizontal reverse Left samplen 1.5 spacing 1.3 width 1 \
    textcolor rgb "#333333"
# Okabe and Ito's colours without yellow: told apart by colour-blind readers too.
array series[8] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", \
                   "#000000", "#8C8C8C"]
array shape[8] = [7, 5, 9, 13, 11, 15, 7, 5]
colour(i) = series[(i - 1) % 8 + 1]
point(i) = shape[(i - 1) % 8 + 1]
set xlabel offset 0, 0.6 textcolor rgb "#333333"
set ylabel textcolor rgb "#333333"
set title textcolor rgb "#222222"
