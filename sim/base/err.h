/* Errors that come from the outside world: files, configurations, traces, devices.
 *
 * A function that can fail for such a reason takes a `struct err *` last and returns 0 or
 * -1 (or a pointer or NULL). The sentence is written where most is known: it names the
 * place (file, data set, row, line) and the cure. The first sentence stays: a caller that
 * fails because its callee failed adds nothing. Our own mistakes are `assert`s; running
 * out of memory ends the program (mem.h). Library code never prints and never exits. */
#ifndef MOESIM_BASE_ERR_H
#define MOESIM_BASE_ERR_H

#define ERR_KEY_BYTES 48

struct err {
    char text[512];          /* "" while all is well; one sentence, plain (plain.h) */
    char key[ERR_KEY_BYTES]; /* of the configuration, that it is about; see err_key() */
};

/* Writes the sentence unless one is there already. Returns -1, so that a caller can say
 * `return err_set(e, ...)`. `e` may not be NULL. */
int err_set(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same where the fault lies in a parameter whose place in a file only a caller knows:
 * `key`, of less than ERR_KEY_BYTES, names it for cfg_locate(). */
int err_set_key(struct err *e, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Says what the sentence is about, where it does not say so itself. Returns -1. */
int err_about(struct err *e, const char *key);
/* The key that the sentence is about, such as "workload.batch", or NULL. */
const char *err_key(const struct err *e);

#endif
