#include "slots.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>

#include "characters.hpp"
#include "tensors.hpp"

namespace filament {
namespace {

constexpr size_t kMostFields = 64, kMostColumns = 32767, kMostRows = size_t{1} << 28;
constexpr int64_t kMostSum = int64_t{1} << 28;
constexpr int64_t kNever = -(int64_t{1} << 62);  // the score of tags that cannot stand so
constexpr uint32_t kMostBits = 24;               // of a hash that name where to look
constexpr size_t kWorthThreads = 1 << 12;        // bytes of texts: some milliseconds of work

std::vector<std::string> texts_or_none(const File& file, std::string_view key) {
    return file.metadata().contains(key) ? file.texts(key) : std::vector<std::string>{};
}

std::vector<size_t> wholes_or_none(const File& file, const std::string& key, size_t most) {
    std::vector<size_t> found;
    if (!file.metadata().contains(key)) return found;
    for (const int64_t n : file.integers(key)) {
        if (n < 0 || static_cast<uint64_t>(n) >= most) throw Error(key + " holds " + std::to_string(n));
        found.push_back(static_cast<size_t>(n));
    }
    return found;
}

double finite(const File& file, std::string_view key) {
    const double number = file.number(key);
    if (!std::isfinite(number)) throw Error(std::string(key) + " is no number");
    return number;
}

// A tag may stand behind `before`, or (-1) at the beginning: what goes on only behind what it goes on from.
bool may_follow(ptrdiff_t before, size_t tag) {
    return tag == 0 || tag % 2 == 1 ||
           (before >= 0 && (static_cast<size_t>(before) == tag || static_cast<size_t>(before) + 1 == tag));
}

void add_point(std::string& text, uint32_t p) {
    const auto more = [&](int shift) { text += static_cast<char>(0x80 | ((p >> shift) & 0x3F)); };
    if (p < 0x80) text += static_cast<char>(p);
    else if (p < 0x800) text += static_cast<char>(0xC0 | p >> 6), more(0);
    else if (p < 0x10000) text += static_cast<char>(0xE0 | p >> 12), more(6), more(0);
    else text += static_cast<char>(0xF0 | p >> 18), more(12), more(6), more(0);
}

// A JSON string (RFC 8259) with no more escapes than it must have.
void quote(std::string& out, std::string_view text) {
    static constexpr std::string_view kShort = "\b\f\n\r\t\"\\", kLetters = "bfnrt\"\\", kHex = "0123456789abcdef";
    out += '"';
    for (size_t at = 0; at < text.size();) {
        const uint32_t point = next_point(text, at);
        const size_t known = point < 0x80 ? kShort.find(static_cast<char>(point)) : kShort.npos;
        if (known != kShort.npos) out += '\\', out += kLetters[known];
        else if (point < 0x20) (out += "\\u00") += kHex[point >> 4], out += kHex[point & 15];
        else add_point(out, point);
    }
    out += '"';
}

// (0|[1-9][0-9]*)(\.[0-9]+)?
bool is_number(std::string_view text) {
    const auto digits = [](std::string_view part) {
        return !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    };
    const size_t point = text.find('.');
    const std::string_view whole = text.substr(0, point);
    return digits(whole) && (whole[0] != '0' || whole.size() == 1) &&
           (point == text.npos || digits(text.substr(point + 1)));
}

}  // namespace

WeightTable::WeightTable(const File& file, const std::string& name, size_t columns) {
    const size_t rows = length(file, name + ".hashes", kMostRows), entries = length(file, name + ".weights", kMostRows);
    const auto hashes = numbers<int32_t>(file, name + ".hashes", {rows});
    hashes_.assign(hashes.begin(), hashes.end());
    if (std::adjacent_find(hashes_.begin(), hashes_.end(), std::greater_equal<>()) != hashes_.end())
        throw Error(name + ".hashes do not ascend");
    const auto starts = numbers<int32_t>(file, name + ".starts", {rows + 1});
    if (starts.front() != 0 || static_cast<size_t>(starts.back()) != entries ||
        !std::is_sorted(starts.begin(), starts.end()))
        throw Error(name + ".starts do not go from 0 to " + std::to_string(entries));
    starts_.assign(starts.begin(), starts.end());
    const auto places = numbers<int16_t>(file, name + ".columns", {entries});
    check_range(name + ".columns", places, 0, static_cast<int64_t>(columns) - 1);
    columns_.assign(places.begin(), places.end());
    weights_ = numbers<int16_t>(file, name + ".weights", {entries});
    bias_ = numbers<int32_t>(file, name + ".bias", {columns});
    check_range(name + ".bias", bias_, -kMostSum, kMostSum);

    const uint32_t bits = std::min(static_cast<uint32_t>(std::bit_width(rows)) + 1, kMostBits);
    shift_ = 32 - bits;
    buckets_.assign((size_t{1} << bits) + 1, 0);
    for (const uint32_t hash : hashes_) ++buckets_[(hash >> shift_) + 1];
    for (size_t i = 1; i < buckets_.size(); ++i) buckets_[i] += buckets_[i - 1];
}

size_t WeightTable::row(uint32_t hash) const {
    const auto begin = hashes_.begin() + buckets_[hash >> shift_],
               end = hashes_.begin() + buckets_[(hash >> shift_) + 1];
    const auto found = std::lower_bound(begin, end, hash);
    return found == end || *found != hash ? rows() : static_cast<size_t>(found - hashes_.begin());
}

void WeightTable::add(size_t row, std::span<int64_t> sums) const {
    for (uint32_t i = starts_[row]; i < starts_[row + 1]; ++i) sums[columns_[i]] += weights_[i];
}

Slots::Slots(const std::shared_ptr<const File>& file, std::shared_ptr<ThreadPool> pool) try : pool_(std::move(pool)) {
    if (const auto found = file->text("general.architecture"); found != kArchitecture)
        throw Error("a file of the architecture " + found + ", and " + kArchitecture + " is needed");
    if (const auto kind = file->text("lightbulb.kind"); kind != "generate") throw Error("lightbulb.kind is " + kind);
    if (const auto version = file->integer("slots.version"); version != 1)
        throw Error("slots.version " + std::to_string(version) + " is not known; 1 is");
    read_form(*file);
    slope_ = finite(*file, "slots.slope"), offset_ = finite(*file, "slots.offset");
    if (!groups_.empty()) choices_ = WeightTable(*file, "choices", groups_.back().end);
    if (const size_t tags = this->tags()) {
        tags_ = WeightTable(*file, "tags", tags);
        transitions_ = numbers<int32_t>(*file, "tags.transitions", {tags, 1 + tags});
        check_range("tags.transitions", transitions_, -kMostSum, kMostSum);
    }
    file->forget();
    work_.resize(pool_->size());
} catch (const Error& e) {
    const std::string said = e.what();
    throw said.starts_with(file->name() + ": ") ? e : Error(file->name() + ": " + said);
}

void Slots::read_form(const File& file) {
    opening_ = file.text("slots.opening"), between_ = file.text("slots.between"), closing_ = file.text("slots.closing");
    fields_ = texts_or_none(file, "slots.fields");
    if (fields_.empty() || fields_.size() > kMostFields)
        throw Error("slots.fields names " + std::to_string(fields_.size()) + " fields");
    copied_ = wholes_or_none(file, "slots.copied", fields_.size());
    pieces_ = wholes_or_none(file, "slots.pieces", fields_.size());
    std::vector<int> ways(fields_.size());  // how a field gets its value: 1 copied, 4 of pieces
    for (const size_t field : copied_) ways[field] += 1;
    for (const size_t field : pieces_) ways[field] |= 4;
    bare_.resize(fields_.size());
    for (const size_t field : wholes_or_none(file, "slots.bare", fields_.size())) {
        if (ways[field] != 1) throw Error("slots.bare names a field that is not copied");
        bare_[field] = 1;
    }
    if (!std::is_sorted(copied_.begin(), copied_.end()) || !std::is_sorted(pieces_.begin(), pieces_.end()) ||
        std::any_of(ways.begin(), ways.end(), [](int way) { return way != 1 && way != 4; }))
        throw Error("slots.copied and slots.pieces do not name each field in one way");
    if (pieces_.empty()) return;
    const Tensor& sets = file.tensor("slots.sets");
    if (sets.shape.size() != 2) throw Error("slots.sets has an impossible shape");
    sets_ = numbers<int8_t>(file, "slots.sets", {fields_.size(), sets.shape[1]});
    check_range("slots.sets", sets_, 0, 1);
    for (size_t i = 0; i < sets_.size(); ++i)
        if (sets_[i] && ways[i % fields_.size()] == 1) throw Error("slots.sets holds a field that is copied");
    groups_.push_back({0, sets_.size() / fields_.size(), 0});
    read_options(file, pieces_.size());
}

void Slots::read_options(const File& file, size_t pieces) {
    options_ = texts_or_none(file, "slots.options");
    const auto counts = wholes_or_none(file, "slots.option_counts", kMostColumns);
    if (counts.size() != pieces) throw Error("slots.option_counts does not fit slots.pieces");
    size_t all = 0;
    for (size_t piece = 0; piece < pieces; ++piece) {
        if (counts[piece] == 0) throw Error("slots.option_counts holds 0");
        const size_t begin = groups_.back().end;
        groups_.push_back({begin, begin + counts[piece], pieces_[piece]});
        all += counts[piece];
        if (groups_.back().end > kMostColumns) throw Error("slots.option_counts names too many choices");
    }
    if (all != options_.size()) throw Error("slots.option_counts does not fit slots.options");
}

void Slots::fill(std::span<const std::string_view> texts, std::span<Filled> answers) {
    const std::scoped_lock taken(mutex_);
    size_t bytes = 0;
    for (const std::string_view text : texts) bytes += text.size();
    std::vector<std::exception_ptr> failed(work_.size());
    pool_->run(
        [&](const Worker& worker) {
            const auto [begin, end] = worker.share(texts.size());
            try {
                for (size_t i = begin; i < end; ++i) answer(work_[worker.index], texts[i], answers[i]);
            } catch (...) {  // no memory for a text of that length
                work_[worker.index] = {};
                failed[worker.index] = std::current_exception();
            }
        },
        bytes < kWorthThreads);
    for (const auto& failure : failed)
        if (failure) std::rethrow_exception(failure);
}

void Slots::answer(Work& work, std::string_view text, Filled& filled) const {
    work.tokens.read(text);
    work.values.assign(fields_.size(), {});
    work.present.assign(fields_.size(), 0);
    work.margin.reset();
    if (!groups_.empty()) choose(work);
    if (!copied_.empty() && work.tokens.size() != 0) {
        tag(work);
        find_path(work);
        copy(work, text);
    }
    filled.text = opening_;
    bool first = true;
    for (size_t field = 0; field < fields_.size(); ++field) {
        if (!work.present[field]) continue;
        if (!first) filled.text += between_;
        filled.text += fields_[field] + work.values[field];
        first = false;
    }
    filled.text += closing_;
    const double logit = slope_ * static_cast<double>(work.margin.value_or(0)) + offset_;
    filled.probability = static_cast<float>(1 / (1 + std::exp(-logit)));
}

// The likeliest set of fields, and the likeliest option of each piece of theirs, of equals the first.
void Slots::choose(Work& work) const {
    work.seen.resize(choices_.rows());
    work.found.clear();
    work.scores.assign(choices_.bias().begin(), choices_.bias().end());
    work.tokens.all([&](uint32_t hash) {
        const size_t row = choices_.row(hash);
        if (row == choices_.rows() || work.seen[row]) return;
        work.seen[row] = 1;
        work.found.push_back(row);
    });
    for (const size_t row : work.found) choices_.add(row, work.scores), work.seen[row] = 0;
    const int8_t* set = nullptr;
    for (size_t n = 0; n < groups_.size(); ++n) {
        const auto [begin, end, field] = groups_[n];
        if (n > 0 && !set[field]) continue;
        const std::span scores = std::span(work.scores).subspan(begin, end - begin);
        const auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
        if (n == 0) set = sets_.data() + best * fields_.size();
        else work.values[field] += options_[begin - groups_[0].end + best], work.present[field] = 1;
        for (size_t i = 0; i < scores.size(); ++i) {
            const int64_t margin = scores[best] - scores[i];
            if (i != best) work.margin = std::min(margin, work.margin.value_or(margin));
        }
    }
}

void Slots::tag(Work& work) const {
    const size_t tags = this->tags();
    work.tag_scores.resize(work.tokens.size() * tags);
    for (size_t at = 0; at < work.tokens.size(); ++at) {
        const std::span scores = std::span(work.tag_scores).subspan(at * tags, tags);
        std::copy(tags_.bias().begin(), tags_.bias().end(), scores.begin());
        work.found.clear();
        work.tokens.around(at, [&](uint32_t hash) {
            const size_t row = tags_.row(hash);
            if (row == tags_.rows() || std::find(work.found.begin(), work.found.end(), row) != work.found.end()) return;
            work.found.push_back(row);
            tags_.add(row, scores);
        });
    }
}

// The tags that together have the highest score (Viterbi 1967), of equals those with the lowest numbers from the end
// on.
void Slots::find_path(Work& work) const {
    const size_t tags = this->tags(), tokens = work.tokens.size();
    work.best.resize(tags), work.ways.resize(tags), work.back.resize(tokens * tags), work.path.resize(tokens);
    for (size_t tag = 0; tag < tags; ++tag)
        work.best[tag] = may_follow(-1, tag) ? transitions_[tag] + work.tag_scores[tag] : kNever;
    for (size_t at = 1; at < tokens; ++at) {
        for (size_t tag = 0; tag < tags; ++tag) {
            int64_t most = 0;
            for (size_t before = 0; before < tags; ++before) {
                const int64_t way = may_follow(static_cast<ptrdiff_t>(before), tag)
                                        ? work.best[before] + transitions_[(1 + before) * tags + tag]
                                        : kNever;
                if (before > 0 && way <= most) continue;
                most = way;
                work.back[at * tags + tag] = static_cast<uint16_t>(before);
            }
            work.ways[tag] = most + work.tag_scores[at * tags + tag];
        }
        std::swap(work.best, work.ways);
    }
    auto tag = static_cast<size_t>(std::max_element(work.best.begin(), work.best.end()) - work.best.begin());
    for (size_t at = tokens; at-- > 0;) {
        work.path[at] = static_cast<uint16_t>(tag);
        for (size_t other = 0; other < tags; ++other) {
            const int64_t margin = work.tag_scores[at * tags + tag] - work.tag_scores[at * tags + other];
            if (other != tag) work.margin = std::min(margin, work.margin.value_or(margin));
        }
        tag = work.back[at * tags + tag];
    }
}

// What each run of tags copies, the last one where a field has several.
void Slots::copy(Work& work, std::string_view text) const {
    for (size_t at = 0; at < work.path.size(); ++at) {
        const size_t tag = work.path[at];
        if (tag % 2 == 0) continue;
        size_t last = at;
        while (last + 1 < work.path.size() && work.path[last + 1] == tag + 1) ++last;
        const size_t field = copied_[tag / 2], begin = work.tokens[at].begin;
        work.values[field].clear();
        const std::string_view own = text.substr(begin, work.tokens[last].end - begin);
        if (bare_[field] && is_number(own)) work.values[field] = own;
        else quote(work.values[field], own);
        work.present[field] = 1;
    }
}

}  // namespace filament
