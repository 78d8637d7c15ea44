/* Prints the turns of the tide for the first two days after the epoch. */
#include <stdio.h>
#include "gauge.h"

int main(void)
{
    static const struct constituent port[] = {
        {"M2", 1.42, 28.984104, 112.0},
        {"S2", 0.47, 30.000000, 158.0},
        {"N2", 0.28, 28.439730, 90.0},
        {"O1", 0.11, 13.943036, 201.0},
    };
    const size_t count = sizeof port / sizeof port[0];
    double t = 0.0;

    while (t < 48.0) {
        t = gauge_next_turn(port, count, t);
        double height = gauge_height(port, count, t);
        printf("%5.2f h  %+5.2f m  %s\n", t, height, height > 0 ? "high" : "low");
    }
    return 0;
}
