#ifndef TIDEGAUGE_GAUGE_H
#define TIDEGAUGE_GAUGE_H

#include <stddef.h>

/* One constituent of the tide: height = amplitude * cos(speed * t - phase). */
struct constituent {
    char name[8];
    double amplitude_m;
    double speed_deg_per_hour;
    double phase_deg;
};

/* Height of the water in metres above mean level, `hours` after the epoch. */
double gauge_height(const struct constituent *parts, size_t count, double hours);

/* Finds the next high or low water after `hours`; returns its time in hours. */
double gauge_next_turn(const struct constituent *parts, size_t count, double hours);

#endif
