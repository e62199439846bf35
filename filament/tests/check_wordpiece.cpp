// Prints the tokens that the vocabulary of a file (the argument) makes of each line of standard input: a text's bytes
// in hexadecimal.
#include <cstdio>
#include <iostream>
#include <string>

#include "wordpiece.hpp"

using namespace filament;

namespace {

std::string bytes_of(const std::string& line) {
    std::string text;
    for (size_t i = 0; i + 1 < line.size(); i += 2)
        text.push_back(static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16)));
    return text;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    const File file(arguments[1]);
    const WordPiece words(file, static_cast<size_t>(file.integer("bert.context_length")));
    for (std::string line; std::getline(std::cin, line);) {
        for (const int32_t token : words.tokens(bytes_of(line))) std::printf("%d ", token);
        std::printf("\n");
    }
}
