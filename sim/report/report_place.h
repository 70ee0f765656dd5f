/* Where a page goes, and what it is drawn with. */
#ifndef MOESIM_REPORT_REPORT_PLACE_H
#define MOESIM_REPORT_REPORT_PLACE_H

#include <stdbool.h>

struct report_place {
    const char *folder; /* made if need be */
    const char *plots;  /* where the scripts are */
    bool pdf;           /* figures as PDF too */
};

#endif
