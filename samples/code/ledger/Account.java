package ledger;

import java.math.BigDecimal;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/** An account that never forgets: its balance is the sum of its postings. */
public final class Account {
    /** One change of the balance. */
    public record Posting(LocalDate day, BigDecimal amount, String text) {
        public Posting {
            Objects.requireNonNull(day);
            Objects.requireNonNull(amount);
            if (text.isBlank()) {
                throw new IllegalArgumentException("a posting needs a text");
            }
        }
    }

    private final String name;
    private final List<Posting> postings = new ArrayList<>();

    public Account(String name) {
        this.name = Objects.requireNonNull(name);
    }

    public void post(LocalDate day, BigDecimal amount, String text) {
        postings.add(new Posting(day, amount, text));
    }

    /** The balance at the end of the given day. */
    public BigDecimal balanceOn(LocalDate day) {
        return postings.stream()
                .filter(posting -> !posting.day().isAfter(day))
                .map(Posting::amount)
                .reduce(BigDecimal.ZERO, BigDecimal::add);
    }

    @Override
    public String toString() {
        return name + " (" + postings.size() + " postings)";
    }
}
