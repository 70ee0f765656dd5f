/* From the tables of `moesim calibrate` to a machine file: `moesim fit --tables`, and the
 * second half of `moesim calibrate`. */
#include "cmd.h"
#include "sim/base/plain.h"
#include "models/calibration.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void print_numbers(const struct calibration *c)
{
    (void)printf("%-28s %22s   %s\n", "number", "value", "standard error");
    for (size_t i = 0; i < c->numbers; i++) {
        const struct calibration_number *n = &c->number[i];
        const int length = (int)strcspn(n->section, ".");

        char value[CALIBRATION_TEXT];

        calibration_number_text(n, value);
        (void)printf("%.*s.%-*s ", length, n->section, 27 - length, n->name);
        if (n->tiles.count > 0)
            (void)printf("%22s", value);
        else
            (void)printf("%14.5g%-8s", n->value / n->scale, n->unit);
        if (isfinite(n->standard_error))
            (void)printf("   %.2g %%\n", 100.0 * n->standard_error);
        else if (strcmp(n->how, "fit") == 0)
            (void)printf("   not determined\n");
        else
            (void)printf("   (%s)\n", n->how);
    }
}

static void print_errors(const struct calibration *c)
{
    (void)printf("\nPredicted against measured medians, in percent of the measured one: "
                 "mean and median\nof the absolute error, mean of the signed error.\n\n"
                 "%-10s %29s   %29s\n%-10s %7s %6s %6s %7s   %7s %6s %6s %7s\n",
                 "", "fitted shapes", "held out", "table", "shapes", "mean", "median",
                 "signed", "shapes", "mean", "median", "signed");
    for (int t = 0; t < CALIBRATION_TABLES; t++) {
        const struct fit_errors *a = &c->train[t], *b = &c->held[t];

        (void)printf("%-10s %7zu %6.1f %6.1f %7.1f   %7zu", c->table[t].schema->name,
                     c->trained[t], 100.0 * a->mean_abs, 100.0 * a->median_abs,
                     100.0 * a->mean, c->table[t].points - c->trained[t]);
        if (isfinite(b->mean_abs))
            (void)printf(" %6.1f %6.1f %7.1f\n", 100.0 * b->mean_abs,
                         100.0 * b->median_abs, 100.0 * b->mean);
        else
            (void)printf("      -      -       -\n");
    }
}

static void print_csv(const struct calibration *c)
{
    (void)printf("table,line,held,measured_s,predicted_s,error\n");
    for (int t = 0; t < CALIBRATION_TABLES; t++)
        for (size_t i = 0; i < c->table[t].points; i++) {
            const struct samples_point *p = &c->table[t].point[i];

            (void)printf("%s,%u,%d,%.9g,%.9g,%.6f\n", c->table[t].schema->name, p->line,
                         p->held, p->seconds, c->predicted[t][i],
                         c->predicted[t][i] / p->seconds - 1.0);
        }
}

int fit_tables(const char *folder, const char *out, bool csv, struct err *e)
{
    struct calibration c;
    int status;

    if (calibration_fit(folder, &c, e) != 0)
        return EXIT_BAD;
    status = out == NULL ? 0 : calibration_write(&c, out, e);
    if (status == 0 && csv) {
        print_csv(&c);
    } else if (status == 0) {
        print_numbers(&c);
        print_errors(&c);
    }
    if (status == 0 && !csv && out != NULL)
        plain_printf(stdout, "\nWritten: %s\n", out);
    calibration_release(&c);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

static int fit_here(const char *folder, const char *out, struct err *e)
{
    return fit_tables(folder, out, false, e);
}

int cmd_calibrate(int argc, char **argv)
{
    return calibrate(argc, argv, fit_here);
}
