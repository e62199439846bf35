#include "cascade.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace filament {
namespace {

constexpr size_t kFewestStages = 2, kMostStages = 3;

std::string name_of(size_t stage) { return "stage." + std::to_string(stage); }

}  // namespace

Cascade::Cascade(const std::shared_ptr<const File>& file, const Means& means) : Classifier(*file) {
    for (const Tensor* part; (part = file->find(name_of(stages_.size())));) {
        if (stages_.size() == kMostStages) throw Error("a cascade of more than 3 stages");
        if (part->type != Type::I8 || part->shape.size() != 1) throw Error(part->name + " does not hold a file");
        stages_.push_back(open_stage(std::make_shared<const File>(*file, *part), means));
        if (stages_.back()->answers() != answers()) throw Error(part->name + " has other answers than the cascade");
    }
    if (stages_.size() < kFewestStages) throw Error("a cascade needs the tensor " + name_of(stages_.size()));
    for (const double threshold : file->numbers("cascade.thresholds")) {
        if (!std::isfinite(threshold)) throw Error("cascade.thresholds holds what is no number");
        thresholds_.push_back(static_cast<float>(threshold));
    }
    if (thresholds_.size() != stages_.size() - 1)
        throw Error("cascade.thresholds has " + std::to_string(thresholds_.size()) + " numbers for " +
                    std::to_string(stages_.size()) + " stages");
}

std::vector<std::string> Cascade::kinds() const {
    std::vector<std::string> kinds;
    for (const auto& stage : stages_) kinds.push_back(stage->kinds()[0]);
    return kinds;
}

void Cascade::choose(std::span<const std::string_view> texts, std::span<Choice> choices) {
    stages_[0]->classify(texts, choices);
    places_.resize(texts.size());
    std::iota(places_.begin(), places_.end(), size_t{0});
    for (size_t stage = 1; stage < stages_.size(); ++stage) {
        std::erase_if(places_, [&](size_t i) { return choices[i].probability >= thresholds_[stage - 1]; });
        handed_.clear();
        for (const size_t i : places_) handed_.push_back(texts[i]);
        chosen_.resize(handed_.size());
        stages_[stage]->classify(handed_, chosen_);
        for (size_t n = 0; n < places_.size(); ++n) {
            choices[places_[n]] = chosen_[n];
            choices[places_[n]].stage = static_cast<uint32_t>(stage);
        }
    }
}

}  // namespace filament
