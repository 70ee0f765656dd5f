# Rows of the key below a figure `width` wide, from the labels in the head of its data;
# for figures that grow with it. Loaded before style.gp, with key_data and key_count set.
set datafile separator comma
longest = 4
do for [i = 2:1 + key_count] {
    stats key_data every ::0::0 using \
        (l = strlen(strcol(i)), longest = l > longest ? l : longest, l) nooutput
}
key_columns = int((width - 80) / (60 + 7.5 * longest))
key_rows = ceil(1.0 * key_count / (key_columns < 1 ? 1 : key_columns))
