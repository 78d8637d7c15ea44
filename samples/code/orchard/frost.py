"""Warn of frost from the dew point, as the gardeners of the valley do it.

On a clear and still night the air cools down to about the dew point and then slows, because the forming dew gives off
warmth. If the dew point itself lies below freezing there is nothing that stops the fall.
"""

import math

# Constants of the Magnus formula over water, valid from -45 to 60 degrees Celsius.
MAGNUS_B = 17.62
MAGNUS_C = 243.12


def dew_point(temperature: float, humidity: float) -> float:
    """Dew point in degrees Celsius from temperature and relative humidity in percent."""
    if not 0 < humidity <= 100:
        raise ValueError(f"humidity is {humidity}, expected more than 0 and at most 100")
    gamma = math.log(humidity / 100) + MAGNUS_B * temperature / (MAGNUS_C + temperature)
    return MAGNUS_C * gamma / (MAGNUS_B - gamma)


def advice(temperature: float, humidity: float, cloudy: bool, windy: bool) -> str:
    point = dew_point(temperature, humidity)
    if cloudy or windy:
        return "no frost is likely"
    if point < -1:
        return "light the candles at midnight"
    if point < 2:
        return "set an alarm for four o'clock"
    return "sleep well"
