package abacus

import scala.annotation.tailrec

object Primes {

  /** All primes below the limit, by the sieve of Eratosthenes. */
  def below(limit: Int): Vector[Int] = {
    val composite = Array.fill(math.max(limit, 2))(false)
    for {
      p <- 2 until limit
      if !composite(p)
      multiple <- (p.toLong * p) until limit by p
    } composite(multiple.toInt) = true
    (2 until limit).filterNot(composite(_)).toVector
  }

  /** Prime factors in rising order, each as often as it divides. */
  def factors(number: Long): List[Long] = {
    require(number > 0, s"$number has no prime factors")

    @tailrec
    def loop(rest: Long, candidate: Long, found: List[Long]): List[Long] =
      if (rest == 1) found.reverse
      else if (candidate * candidate > rest) (rest :: found).reverse
      else if (rest % candidate == 0) loop(rest / candidate, candidate, candidate :: found)
      else loop(rest, candidate + 1, found)

    loop(number, 2, Nil)
  }
}
