// A ring buffer of readings: the newest `Size` are kept, the mean is exact and cheap.
#include <array>
#include <cstddef>
#include <optional>

template <std::size_t Size>
class ReadingRing {
public:
    void add(int millimetres) {
        if (count_ == Size) {
            sum_ -= values_[next_];
        } else {
            ++count_;
        }
        values_[next_] = millimetres;
        sum_ += millimetres;
        next_ = (next_ + 1) % Size;
    }

    std::optional<double> mean() const {
        if (count_ == 0) {
            return std::nullopt;
        }
        return static_cast<double>(sum_) / static_cast<double>(count_);
    }

    std::size_t count() const { return count_; }

private:
    std::array<int, Size> values_{};
    std::size_t next_ = 0;
    std::size_t count_ = 0;
    long long sum_ = 0;
};

template class ReadingRing<240>;
