//! A firing schedule: ramps and holds, and the temperature that they give at any minute.

/// One part of a firing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Segment {
    /// Heat or cool at `per_hour` degrees until `target` is reached.
    Ramp { per_hour: f64, target: f64 },
    /// Stay where you are for so many minutes.
    Hold { minutes: f64 },
}

#[derive(Debug, PartialEq)]
pub enum ScheduleError {
    ZeroRate(usize),
    WrongDirection(usize),
}

/// Length of every segment in minutes, starting from the temperature `from`.
pub fn durations(segments: &[Segment], from: f64) -> Result<Vec<f64>, ScheduleError> {
    let mut current = from;
    let mut lengths = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        match *segment {
            Segment::Hold { minutes } => lengths.push(minutes),
            Segment::Ramp { per_hour, target } => {
                if per_hour == 0.0 {
                    return Err(ScheduleError::ZeroRate(index));
                }
                let minutes = (target - current) / per_hour * 60.0;
                if minutes < 0.0 {
                    return Err(ScheduleError::WrongDirection(index));
                }
                lengths.push(minutes);
                current = target;
            }
        }
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_of_a_hundred_an_hour_takes_six_hours_to_six_hundred_and_twenty() {
        let firing = [Segment::Ramp { per_hour: 100.0, target: 620.0 }];
        assert_eq!(durations(&firing, 20.0), Ok(vec![360.0]));
    }

    #[test]
    fn cooling_needs_a_negative_rate() {
        let firing = [Segment::Ramp { per_hour: 50.0, target: 10.0 }];
        assert_eq!(durations(&firing, 20.0), Err(ScheduleError::WrongDirection(0)));
    }
}
