#include "device.h"

#include <string.h>

const struct device_ops *const device_all[] = {
    &device_host,
#ifdef MOESIM_CUDA
    &device_cuda,
#endif
};
const size_t device_count = sizeof device_all / sizeof device_all[0];

static const struct device_ops *find(const char *name, size_t length)
{
    for (size_t i = 0; i < device_count; i++)
        if (strlen(device_all[i]->name) == length &&
            strncmp(device_all[i]->name, name, length) == 0)
            return device_all[i];
    return NULL;
}

/* "" or ":N", at most 999. */
static int read_index(const char *text, uint32_t *index)
{
    size_t digits;

    *index = 0;
    if (*text == '\0')
        return 0;
    digits = strspn(text + 1, "0123456789");
    if (*text != ':' || digits == 0 || digits > 3 || text[1 + digits] != '\0')
        return -1;
    for (size_t i = 0; i < digits; i++)
        *index = *index * 10 + (uint32_t)(text[1 + i] - '0');
    return 0;
}

int device_open(const char *text, struct device **d, bool *missing, struct err *e)
{
    const size_t length = strcspn(text, ":");
    const struct device_ops *ops = find(text, length);
    const bool cuda = length == 4 && strncmp(text, "cuda", length) == 0;
    uint32_t index;
    uint32_t count;

    *d = NULL;
    *missing = false;
    if ((ops == NULL && !cuda) || read_index(text + length, &index) != 0)
        return err_set(e, "device \"%s\" is not known; use host or cuda:N", text);
    if (ops == NULL) {
        *missing = true;
        return err_set(e,
                       "%s: this program was built without CUDA; build it with 'make "
                       "gpu', or use --device host",
                       text);
    }
    count = ops->count(e);
    if (index >= count) {
        *missing = true;
        return err_set(e, "%s: this machine has %u such device%s, counted from 0", text,
                       count, count == 1 ? "" : "s");
    }
    *d = ops->open(index, e);
    return *d == NULL ? -1 : 0;
}

void device_close(struct device *d)
{
    if (d != NULL)
        d->ops->close(d);
}
