// Classifies with each file named on the command line the texts of standard input, one a line, and prints for each the
// answer and its probability, or the error of a file that is refused: what sanitizers and emulators watch. Ends with 0
// either way.
#include <cstdio>
#include <iostream>
#include <string>

#include "classifier.hpp"

using namespace filament;

int main(int count, char** arguments) {
    std::vector<std::string> lines;
    for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
    const std::vector<std::string_view> texts(lines.begin(), lines.end());
    std::vector<Choice> choices(texts.size());
    for (int i = 1; i < count; ++i) {
        try {
            const Means means{kernels(), std::make_shared<ThreadPool>(2)};
            const auto classifier = open_classifier(std::make_shared<const File>(arguments[i]), means);
            classifier->classify(texts, choices);
            std::printf("%s", means.kernels.name);
            for (const Choice& choice : choices) std::printf(" %u %.4f", choice.answer, double(choice.probability));
            std::printf("\n");
        } catch (const Error& e) {
            std::printf("error: %s\n", e.what());
        }
    }
}
