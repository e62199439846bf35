// Fills in answers with each file named on the command line: what sanitizers watch. The first argument is a file whose
// lines are the texts, bytes of any kind. Two threads ask at once, with two threads each. Prints each answer and its
// probability in millionths, or the error of a file that is refused. Ends with 0 either way.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <future>
#include <string>

#include "slots.hpp"

using namespace filament;

namespace {

void check(const char* path, const std::vector<std::string_view>& texts) {
    Slots slots(std::make_shared<const File>(path), std::make_shared<ThreadPool>(2));
    std::vector<Filled> filled(texts.size()), same(texts.size());
    auto another = std::async(std::launch::async, [&] { slots.fill(texts, same); });
    slots.fill(texts, filled);  // where it throws, the other is waited for all the same
    another.get();
    for (size_t i = 0; i < texts.size(); ++i) {
        if (same[i].text != filled[i].text) std::printf("differs ");
        std::printf("%ld %s\n", std::lround(1e6 * static_cast<double>(filled[i].probability)), filled[i].text.c_str());
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) return 2;
    std::ifstream file(arguments[1], std::ios::binary);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    const std::vector<std::string_view> texts(lines.begin(), lines.end());
    for (int i = 2; i < count; ++i) {
        try {
            check(arguments[i], texts);
        } catch (const Error& e) {
            std::printf("error: %s\n", e.what());
        }
    }
}
