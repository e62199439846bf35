#include "classifier.hpp"

#include <algorithm>

#include "bert.hpp"
#include "cascade.hpp"
#include "ngrams.hpp"

namespace filament {
namespace {

constexpr size_t kMostAnswers = 1u << 16;

using Open = std::unique_ptr<Classifier> (*)(const std::shared_ptr<const File>&, const Means&);

template <class Kind>
std::unique_ptr<Classifier> opened(const std::shared_ptr<const File>& file, const Means& means) {
    return std::make_unique<Kind>(file, means);
}

struct Row {
    const char* architecture;
    Open open;
};
// A new kind is a row; the cascade, which no stage may be, is the last one.
constexpr Row kKinds[] = {
    {Ngrams::kArchitecture, opened<Ngrams>},
    {Bert::kArchitecture, opened<Bert>},
    {Cascade::kArchitecture, opened<Cascade>},
};

std::unique_ptr<Classifier> open(const std::shared_ptr<const File>& file, const Means& means,
                                 std::span<const Row> kinds) {
    try {
        const std::string architecture = file->text("general.architecture");
        std::string known;
        for (const Row& kind : kinds) {
            if (architecture == kind.architecture) return kind.open(file, means);
            known += std::string(known.empty() ? "" : ", ") + kind.architecture;
        }
        throw Error("a classifier of the architecture " + architecture + " cannot be run here; these can: " + known);
    } catch (const Error& e) {
        const std::string said = e.what();
        throw said.starts_with(file->name() + ": ") ? e : Error(file->name() + ": " + said);
    }
}

}  // namespace

Classifier::Classifier(const File& file)
    : answers_(file.texts("lightbulb.answers")),
      threshold_(static_cast<float>(file.number("lightbulb.threshold", 0))),
      none_(file.text("lightbulb.none", "none of these")) {
    if (!(threshold_ >= 0 && threshold_ <= 1)) throw Error("lightbulb.threshold is no probability");
    if (answers_.size() < 2 || answers_.size() > kMostAnswers)
        throw Error("lightbulb.answers names " + std::to_string(answers_.size()) + " answers");
    std::vector<std::string> sorted = answers_;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
        throw Error("lightbulb.answers names an answer twice");
    if (std::binary_search(sorted.begin(), sorted.end(), none_))
        throw Error("lightbulb.none is one of the answers: " + none_);
}

std::unique_ptr<Classifier> open_classifier(const std::shared_ptr<const File>& file, const Means& means) {
    return open(file, means, kKinds);
}

std::unique_ptr<Classifier> open_stage(const std::shared_ptr<const File>& file, const Means& means) {
    return open(file, means, std::span(kKinds).first(std::size(kKinds) - 1));
}

}  // namespace filament
