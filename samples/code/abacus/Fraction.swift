/// An exact fraction in lowest terms with a positive denominator.
public struct Fraction: Hashable, CustomStringConvertible {
    public let numerator: Int
    public let denominator: Int

    public init(_ numerator: Int, _ denominator: Int = 1) {
        precondition(denominator != 0, "a fraction needs a denominator other than zero")
        let sign = denominator < 0 ? -1 : 1
        let divisor = Fraction.gcd(abs(numerator), abs(denominator))
        self.numerator = sign * numerator / divisor
        self.denominator = sign * denominator / divisor
    }

    private static func gcd(_ a: Int, _ b: Int) -> Int {
        b == 0 ? max(a, 1) : gcd(b, a % b)
    }

    public static func + (left: Fraction, right: Fraction) -> Fraction {
        Fraction(left.numerator * right.denominator + right.numerator * left.denominator,
                 left.denominator * right.denominator)
    }

    public static func * (left: Fraction, right: Fraction) -> Fraction {
        Fraction(left.numerator * right.numerator, left.denominator * right.denominator)
    }

    public var description: String {
        denominator == 1 ? "\(numerator)" : "\(numerator)/\(denominator)"
    }
}
