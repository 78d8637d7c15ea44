# Great-circle distance by the haversine formula, which stays exact for short distances.
const EARTH_RADIUS_KM = 6371.0088

struct Place
    name::String
    latitude::Float64
    longitude::Float64
end

function distance(a::Place, b::Place)
    φ1, φ2 = deg2rad(a.latitude), deg2rad(b.latitude)
    Δφ = φ2 - φ1
    Δλ = deg2rad(b.longitude - a.longitude)
    h = sin(Δφ / 2)^2 + cos(φ1) * cos(φ2) * sin(Δλ / 2)^2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(h)))
end

function nearest(home::Place, others::Vector{Place})
    isempty(others) && throw(ArgumentError("there is no other place"))
    return argmin(place -> distance(home, place), others)
end
