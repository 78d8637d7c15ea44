#!/usr/bin/perl
# Counts how often each colour is used in a chart of letters, one letter a stitch.
use strict;
use warnings;

my %count;
my $rows = 0;

while (my $line = <>) {
    chomp $line;
    next if $line =~ /^\s*(?:#|$)/;
    $rows++;
    $count{$_}++ for split //, $line;
}

for my $colour (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
    printf "%s %6d stitches, %5.1f in a row on average\n", $colour, $count{$colour}, $count{$colour} / $rows;
}
