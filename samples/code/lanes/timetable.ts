/** Finds the next departure from a weekly timetable. Times are minutes after midnight. */

export type Weekday = 0 | 1 | 2 | 3 | 4 | 5 | 6;

export interface Departure {
  readonly line: string;
  readonly days: ReadonlySet<Weekday>;
  readonly minute: number;
}

export interface Next {
  readonly departure: Departure;
  readonly waitMinutes: number;
}

const DAY = 24 * 60;

export function parseTime(text: string): number {
  const match = /^(\d{1,2}):(\d{2})$/.exec(text);
  if (match === null) {
    throw new RangeError(`"${text}" is not a time of the form 7:05`);
  }
  const [hours, minutes] = [Number(match[1]), Number(match[2])];
  if (hours > 23 || minutes > 59) {
    throw new RangeError(`"${text}" is outside of the day`);
  }
  return hours * 60 + minutes;
}

export function nextDeparture(all: readonly Departure[], day: Weekday, minute: number): Next | undefined {
  let best: Next | undefined;
  for (const departure of all) {
    for (let ahead = 0; ahead <= 7; ahead += 1) {
      const on = ((day + ahead) % 7) as Weekday;
      const waitMinutes = ahead * DAY + departure.minute - minute;
      if (waitMinutes >= 0 && departure.days.has(on)) {
        if (best === undefined || waitMinutes < best.waitMinutes) {
          best = { departure, waitMinutes };
        }
        break;
      }
    }
  }
  return best;
}
