#include "ngrams.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensors.hpp"

namespace filament {
namespace {

constexpr size_t kMostRows = size_t{1} << 28;
constexpr int64_t kLongest = 8;  // n-gram
constexpr size_t kMostCounts = 256;
constexpr int32_t kMostHead = 2047, kMostWeight = 127, kMost = 32767;
constexpr uint32_t kMostBits = 24;         // of a hash that name where to look
constexpr uint32_t kFewHashes = 8;         // that are looked through one by one
constexpr size_t kWorthThreads = 1 << 14;  // bytes of texts: some milliseconds of work

Lengths lengths(const File& file, const char* name) {
    const std::vector<int64_t> ends = file.integers(name);
    const bool none = ends.size() == 2 && ends[0] == 0 && ends[1] == 0;
    if (!none && (ends.size() != 2 || ends[0] < 1 || ends[1] < ends[0] || ends[1] > kLongest))
        throw Error(std::string(name) + " is no range of lengths within 1 to " + std::to_string(kLongest));
    return {static_cast<uint32_t>(ends[0]), static_cast<uint32_t>(ends[1])};
}

double largest(const auto& values) {
    double most = 0;
    for (const auto x : values) most = std::max(most, std::fabs(static_cast<double>(x)));
    return most;
}

// floor(sqrt(x)), of x below 2^62: a double's root is off by one at most.
uint64_t whole_root(uint64_t x) {
    auto root = static_cast<uint64_t>(std::sqrt(static_cast<double>(x)));
    while (root * root > x) --root;
    while ((root + 1) * (root + 1) <= x) ++root;
    return root;
}

int32_t weighted(int32_t weight, int32_t count) { return std::min((weight * count) >> 8, kMost); }

}  // namespace

Ngrams::Ngrams(const std::shared_ptr<const File>& file, const Means& means) : Classifier(*file), means_(means) {
    read_keys(*file);
    read_rows(*file);
    read_answers(*file);
    check_bounds();
    file->forget();
    const size_t rows = rows_.size(), padded = round_up(answers().size());
    work_.resize(means_.pool->size());
    for (Work& work : work_) {
        work.times.resize(rows), work.found.reserve(rows);
        work.rows.reserve(rows + 1), work.by.reserve(rows + 1);
        work.sums.resize(stride_), work.scores.resize(padded), work.narrowed.resize(stride_);
    }
}

void Ngrams::read_keys(const File& file) {
    if (const auto kind = file.text("lightbulb.kind"); kind != "choose") throw Error("lightbulb.kind is " + kind);
    if (const auto version = file.integer("ngrams.version"); version != 1)
        throw Error("ngrams.version " + std::to_string(version) + " is not known; 1 is");
    words_ = lengths(file, "ngrams.words");
    characters_ = lengths(file, "ngrams.chars");
    if (words_.shortest == 0 && characters_.shortest == 0) throw Error("ngrams.words and ngrams.chars name no n-grams");
    const double unit = file.number("ngrams.unit");
    if (!std::isfinite(unit) || unit <= 0) throw Error("ngrams.unit is no number above 0");
    likelihood_ = Likelihood(unit);
}

void Ngrams::read_rows(const File& file) {
    const size_t rows = length(file, "ngrams.hashes", kMostRows);
    const auto hashes = numbers<int32_t>(file, "ngrams.hashes", {rows});
    hashes_.assign(hashes.begin(), hashes.end());
    if (std::adjacent_find(hashes_.begin(), hashes_.end(), std::greater_equal<>()) != hashes_.end())
        throw Error("ngrams.hashes do not ascend");
    const uint32_t bits = std::min(static_cast<uint32_t>(std::bit_width(rows)) + 1, kMostBits);
    shift_ = 32 - bits;
    starts_.assign((size_t{1} << bits) + 1, 0);
    for (const uint32_t hash : hashes_) ++starts_[(hash >> shift_) + 1];
    for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];

    const auto idf = numbers<int16_t>(file, "ngrams.idf", {rows}),
               scales = numbers<int16_t>(file, "ngrams.scales", {rows});
    check_range("ngrams.idf", idf, 1, kMost);
    check_range("ngrams.scales", scales, 0, kMost);
    for (size_t i = 0; i < rows; ++i) rows_.push_back({idf[i], scales[i]});
    counts_ = numbers<int16_t>(file, "ngrams.counts", {length(file, "ngrams.counts", kMostCounts)});
    check_range("ngrams.counts", counts_, 0, kMost);

    width_ = file.tensor("ngrams.weights").columns(), stride_ = round_up(width_);
    const auto weights = numbers<int8_t>(file, "ngrams.weights", {width_, rows});
    check_range("ngrams.weights", weights, -kMostWeight, kMostWeight);
    weights_ = Buffer(rows * stride_);
    std::memset(weights_.data(), 0, rows * stride_);
    for (size_t i = 0; i < rows; ++i) std::memcpy(weights_.data() + i * stride_, &weights[i * width_], width_);
}

void Ngrams::read_answers(const File& file) {
    const size_t answers = this->answers().size();
    bias_ = numbers<int32_t>(file, "ngrams.bias", {answers});
    if (!file.find("ngrams.head")) {
        if (width_ != answers) throw Error("ngrams.weights has a column for each answer, or there is an ngrams.head");
        return;
    }
    const auto head = numbers<int16_t>(file, "ngrams.head", {width_, answers});
    check_range("ngrams.head", head, -kMostHead, kMostHead);
    head_.resize(round_up(answers) * stride_);
    for (size_t i = 0; i < answers; ++i) {
        for (size_t j = 0; j < width_; ++j)
            head_[i / kTile * kTile * stride_ + j / 2 * 2 * kTile + i % kTile * 2 + j % 2] = head[i * width_ + j];
    }
}

// No score can pass 63 bits.
void Ngrams::check_bounds() const {
    int32_t idf = 0, scale = 0;
    for (const Row& row : rows_) idf = std::max<int32_t>(idf, row.idf), scale = std::max<int32_t>(scale, row.scale);
    const int32_t count = *std::max_element(counts_.begin(), counts_.end());
    const auto rows = static_cast<double>(rows_.size());
    const std::span weights(reinterpret_cast<const int8_t*>(weights_.data()), weights_.size());
    const double sum = rows * weighted(scale, count) * largest(weights);
    const double root = std::sqrt(rows) * std::max(1, weighted(idf, count));
    // A sum that is shifted right and left again is larger by less than 2^-14 of itself.
    const double score = head_.empty() ? sum : static_cast<double>(width_) * largest(head_) * (sum * (1 + 0x1p-14) + 1);
    if (score + largest(bias_) * root >= 0x1p63) throw Error("the scores of this file could pass 63 bits");
}

void Ngrams::choose(std::span<const std::string_view> texts, std::span<Choice> choices) {
    size_t longest = 0, bytes = 0;
    for (const std::string_view text : texts) longest = std::max(longest, text.size()), bytes += text.size();
    for (Work& work : work_) work.text.reserve(longest);
    means_.pool->run(
        [&](const Worker& worker) {
            const auto [begin, end] = worker.share(texts.size());
            for (size_t i = begin; i < end; ++i) choices[i] = answer(work_[worker.index], texts[i]);
        },
        bytes < kWorthThreads);
}

Choice Ngrams::answer(Work& work, std::string_view text) const {
    find_rows(work, text);
    const int64_t root = add_rows(work);
    if (head_.empty()) std::copy(work.sums.begin(), work.sums.end(), work.scores.begin());
    else apply_head(work);
    for (size_t i = 0; i < bias_.size(); ++i) work.scores[i] += bias_[i] * root;
    const auto scores = std::span<const int64_t>(work.scores).first(bias_.size());
    const auto best = std::max_element(scores.begin(), scores.end());  // of equals the first
    const auto total = static_cast<double>(likelihood_.total(scores, *best, root));
    return {static_cast<uint32_t>(best - scores.begin()), static_cast<float>(Likelihood::kOne / total)};
}

void Ngrams::find_rows(Work& work, std::string_view text) const {
    work.text.read(text);
    work.found.clear();
    const auto most = static_cast<uint16_t>(counts_.size());
    const auto take = [&](uint32_t hash) {
        uint32_t row = starts_[hash >> shift_];
        const uint32_t end = starts_[(hash >> shift_) + 1];
        if (end - row > kFewHashes)  // a file whose hashes crowd
            row = static_cast<uint32_t>(std::lower_bound(&hashes_[row], hashes_.data() + end, hash) - hashes_.data());
        while (row < end && hashes_[row] < hash) ++row;
        if (row == end || hashes_[row] != hash) return;
        uint16_t& times = work.times[row];
        if (times == 0) {
            work.found.push_back(row);
            __builtin_prefetch(weights_.data() + row * stride_);
        }
        if (times < most) ++times;
    };
    work.text.words(words_, take);
    work.text.characters(characters_, take);
}

int64_t Ngrams::add_rows(Work& work) const {
    work.rows.clear(), work.by.clear();
    uint64_t squares = 0;
    for (const uint32_t i : work.found) {
        const int32_t count = counts_[work.times[i] - 1u];
        const auto a = static_cast<uint64_t>(std::max(1, weighted(rows_[i].idf, count)));
        squares += a * a;
        work.rows.push_back(reinterpret_cast<const int8_t*>(weights_.data()) + i * stride_);
        work.by.push_back(static_cast<int16_t>(weighted(rows_[i].scale, count)));
        work.times[i] = 0;
    }
    if (work.rows.size() % 2 != 0) work.rows.push_back(work.rows.back()), work.by.push_back(0);
    std::fill(work.sums.begin(), work.sums.end(), 0);
    means_.kernels.add_rows(work.rows.data(), work.by.data(), work.rows.size(), stride_, work.sums.data());
    return static_cast<int64_t>(std::max<uint64_t>(1, whole_root(squares)));
}

void Ngrams::apply_head(Work& work) const {
    uint64_t magnitudes = 0;
    for (const int64_t sum : work.sums) magnitudes |= static_cast<uint64_t>(std::abs(sum));
    const int shift = std::max(0, static_cast<int>(std::bit_width(magnitudes)) - 15);
    for (size_t j = 0; j < stride_; ++j) work.narrowed[j] = static_cast<int16_t>(work.sums[j] >> shift);
    means_.kernels.multiply_words(head_.data(), work.scores.size(), stride_, work.narrowed.data(), work.scores.data());
    for (int64_t& score : work.scores) score *= int64_t{1} << shift;
}

}  // namespace filament
