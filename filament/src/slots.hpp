// Answers filled in from a text: the files `lightbulb-slots` of docs/format.md.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf.hpp"
#include "slot_tokens.hpp"
#include "thread_pool.hpp"

namespace filament {

struct Filled {
    std::string text;
    float probability = 0;
};

// Weights of features, most of which are 0: of each hash those that are not, by column.
class WeightTable {
  public:
    WeightTable() = default;
    // Reads the tensors `name`.hashes and so on. Throws Error where they do not fit together.
    WeightTable(const File& file, const std::string& name, size_t columns);

    size_t rows() const { return hashes_.size(); }
    size_t columns() const { return bias_.size(); }
    // The row of a hash; rows() where it has none.
    size_t row(uint32_t hash) const;
    void add(size_t row, std::span<int64_t> sums) const;
    std::span<const int32_t> bias() const { return bias_; }

  private:
    std::vector<uint32_t> hashes_;   // ascending
    std::vector<uint32_t> buckets_;  // where hashes with these first bits begin
    uint32_t shift_ = 0;             // to these bits
    std::vector<uint32_t> starts_;
    std::vector<uint16_t> columns_;
    std::vector<int16_t> weights_;
    std::vector<int32_t> bias_;
};

class Slots {
  public:
    static constexpr const char* kArchitecture = "lightbulb-slots";

    // Throws Error for a file that is damaged or not understood.
    Slots(const std::shared_ptr<const File>& file, std::shared_ptr<ThreadPool> pool);

    // One answer for each text, which is bytes of any kind: what is not UTF-8 is read as U+FFFD. Calls from several
    // threads take turns.
    void fill(std::span<const std::string_view> texts, std::span<Filled> answers);

  private:
    struct Group {
        size_t begin, end;  // columns
        size_t field;
    };
    // What one thread works with, kept from text to text.
    struct Work {
        SlotTokens tokens;
        std::vector<uint8_t> seen;  // of each row of choices_
        std::vector<size_t> found;  // rows that came
        std::vector<int64_t> scores, best, ways;
        std::vector<int64_t> tag_scores;  // [token][tag]
        std::vector<uint16_t> back;       // likewise: the tag before
        std::vector<uint16_t> path;
        std::vector<std::string> values;  // of each field
        std::vector<uint8_t> present;     // likewise
        std::optional<int64_t> margin;
    };

    void read_form(const File& file);
    void read_options(const File& file, size_t pieces);
    void answer(Work& work, std::string_view text, Filled& filled) const;
    void choose(Work& work) const;
    void tag(Work& work) const;
    void find_path(Work& work) const;
    void copy(Work& work, std::string_view text) const;
    size_t tags() const { return copied_.empty() ? 0 : 1 + 2 * copied_.size(); }

    std::string opening_, between_, closing_;
    std::vector<std::string> fields_, options_;
    std::vector<size_t> copied_, pieces_;
    std::vector<uint8_t> bare_;  // of each field: whether what is copied stands without quotes where it is a number
    std::vector<int8_t> sets_;   // [set][field]
    std::vector<Group> groups_;  // of columns of choices_: the sets, then the options of each piece
    double slope_ = 0, offset_ = 0;
    WeightTable choices_, tags_;
    std::vector<int32_t> transitions_;  // [1 + tag before][tag]
    std::shared_ptr<ThreadPool> pool_;
    std::vector<Work> work_;  // of each thread
    std::mutex mutex_;
};

}  // namespace filament
