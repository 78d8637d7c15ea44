package ledger

import kotlin.math.pow

/** What a sum becomes after some years at a yearly rate, with interest paid so many times a year. */
fun compound(sum: Double, rate: Double, years: Int, timesAYear: Int = 1): Double {
    require(timesAYear > 0) { "interest must be paid at least once a year, not $timesAYear times" }
    return sum * (1 + rate / timesAYear).pow(years * timesAYear)
}

data class Plan(val name: String, val rate: Double, val timesAYear: Int)

fun main() {
    val plans = listOf(Plan("yearly", 0.03, 1), Plan("monthly", 0.0297, 12))
    for (plan in plans.sortedByDescending { compound(1000.0, it.rate, 10, it.timesAYear) }) {
        val after = compound(1000.0, plan.rate, 10, plan.timesAYear)
        println("%-8s %.2f".format(plan.name, after))
    }
}
