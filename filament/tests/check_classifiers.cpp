// Classifies texts with each file named on the command line: what sanitizers and emulators watch. The first argument
// is a file whose lines are the texts, bytes of any kind. Two threads classify at once, with two threads each. Prints
// the kernels and each choice (answer:stage, and its probability in millionths), or the error of a file that is
// refused. Ends with 0 either way.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <future>
#include <string>

#include "classifier.hpp"

using namespace filament;

namespace {

std::vector<std::string> lines_of(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

void check(const char* path, const std::vector<std::string_view>& texts) {
    const Means means{kernels(), std::make_shared<ThreadPool>(2)};
    const auto classifier = open_classifier(std::make_shared<const File>(path), means);
    std::vector<Choice> choices(texts.size()), same(texts.size());
    auto another = std::async(std::launch::async, [&] { classifier->classify(texts, same); });
    classifier->classify(texts, choices);  // where it throws, the other is waited for all the same
    another.get();
    std::printf("%s", means.kernels.name);
    for (size_t i = 0; i < texts.size(); ++i) {
        const auto [answer, probability, stage] = choices[i];
        if (same[i].answer != answer || same[i].stage != stage) std::printf(" differs");
        std::printf(" %u:%u:%ld", answer, stage, std::lround(1e6 * static_cast<double>(probability)));
    }
    std::printf("\n");
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) return 2;
    const std::vector<std::string> lines = lines_of(arguments[1]);
    const std::vector<std::string_view> texts(lines.begin(), lines.end());
    for (int i = 2; i < count; ++i) {
        try {
            check(arguments[i], texts);
        } catch (const Error& e) {
            std::printf("error: %s\n", e.what());
        }
    }
}
