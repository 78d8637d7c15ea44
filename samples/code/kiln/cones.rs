//! Pyrometric cones: small pyramids that bend at a known heat. Values for slow heating, degrees Celsius.

pub const CONES: [(&str, u16); 8] = [
    ("022", 586),
    ("018", 715),
    ("010", 891),
    ("06", 998),
    ("04", 1063),
    ("1", 1137),
    ("6", 1222),
    ("10", 1285),
];

/// The hottest cone that bends at or below the given temperature.
pub fn cone_for(celsius: u16) -> Option<&'static str> {
    CONES.iter().rev().find(|(_, bends)| *bends <= celsius).map(|(name, _)| *name)
}
