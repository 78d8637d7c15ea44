const std = @import("std");

/// Counts requests of one client in a window that slides second by second.
pub fn Window(comptime seconds: usize) type {
    return struct {
        counts: [seconds]u32 = [_]u32{0} ** seconds,
        newest: u64 = 0,

        const Self = @This();

        pub fn add(self: *Self, now: u64) u32 {
            const gap = @min(now -| self.newest, seconds);
            var i: u64 = 0;
            while (i < gap) : (i += 1) {
                self.counts[(self.newest + 1 + i) % seconds] = 0;
            }
            self.newest = @max(self.newest, now);
            self.counts[now % seconds] += 1;
            return self.total();
        }

        pub fn total(self: *const Self) u32 {
            var sum: u32 = 0;
            for (self.counts) |count| sum += count;
            return sum;
        }
    };
}

test "old requests leave the window" {
    var window = Window(10){};
    _ = window.add(100);
    try std.testing.expectEqual(@as(u32, 2), window.add(101));
    try std.testing.expectEqual(@as(u32, 1), window.add(120));
}
