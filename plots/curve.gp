# Hit rate against slots. Columns: slots, then one per policy: hit rate (%).
width = 640
height = 420
load ARG1."/style.gp"
set output ARG3
set title "How many slots"
set xlabel "slots of each layer"
set ylabel "hits (% of accesses)"
set yrange [0:100]
set autoscale xfix
# The head of the first column says whose slots they are.
stats ARG2 every ::0::0 using (whose = strcol(1), 1) nooutput
set xlabel whose
plot for [i = 2:1 + ARG4] ARG2 using 1:i with lines lw 1.8 lc rgb colour(i - 1) \
    title columnheader(i)
