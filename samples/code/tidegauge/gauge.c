#include "gauge.h"

#include <math.h>

static const double RADIANS = 3.14159265358979323846 / 180.0;

double gauge_height(const struct constituent *parts, size_t count, double hours)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        double angle = parts[i].speed_deg_per_hour * hours - parts[i].phase_deg;
        sum += parts[i].amplitude_m * cos(angle * RADIANS);
    }
    return sum;
}

static double slope(const struct constituent *parts, size_t count, double hours)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        double speed = parts[i].speed_deg_per_hour * RADIANS;
        double angle = parts[i].speed_deg_per_hour * hours - parts[i].phase_deg;
        sum -= parts[i].amplitude_m * speed * sin(angle * RADIANS);
    }
    return sum;
}

double gauge_next_turn(const struct constituent *parts, size_t count, double hours)
{
    const double step = 0.25;
    double low = hours + 1e-6;
    double before = slope(parts, count, low);

    for (int i = 0; i < 400; i++) {
        double high = low + step;
        double after = slope(parts, count, high);
        if ((before > 0) != (after > 0)) {
            for (int k = 0; k < 40; k++) {
                double middle = 0.5 * (low + high);
                if ((slope(parts, count, middle) > 0) == (before > 0))
                    low = middle;
                else
                    high = middle;
            }
            return 0.5 * (low + high);
        }
        low = high;
        before = after;
    }
    return NAN;
}
