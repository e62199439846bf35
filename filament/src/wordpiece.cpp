#include "wordpiece.hpp"

#include <algorithm>
#include <numeric>

#include "characters.hpp"
#include "unicode.hpp"

namespace filament {
namespace {

constexpr std::string_view kWordBegins = "\u2581";
constexpr int64_t kPiece = 1;         // the token type of what is no special token
constexpr size_t kLongestWord = 100;  // characters; a longer one is unknown

size_t characters_of(std::string_view text) {
    return static_cast<size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

void append_utf8(char32_t point, std::string& text) {
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    const auto tail = [&](int shift) { put(0x80 | (point >> shift & 0x3F)); };
    if (point < 0x80) return put(point);
    if (point < 0x800) return put(0xC0 | point >> 6), tail(0);
    if (point < 0x10000) return put(0xE0 | point >> 12), tail(6), tail(0);
    put(0xF0 | point >> 18), tail(12), tail(6), tail(0);
}

}  // namespace

void WordPiece::Pieces::add(std::string_view text, int32_t number) {
    numbers.emplace(text, number);
    longest = std::max(longest, characters_of(text));
}

void WordPiece::Word::add(char32_t point) {
    if (ends.size() > kLongestWord) return;  // it is unknown already
    append_utf8(point, text);
    ends.push_back(text.size());
}

WordPiece::WordPiece(const File& file, size_t positions)
    : positions_(positions), pieces_(file.texts("tokenizer.ggml.tokens")) {
    if (const std::string model = file.text("tokenizer.ggml.model"); model != "bert")
        throw Error("a tokenizer of the kind " + model + ": only WordPiece (bert) can be run here");
    const std::vector<int64_t> types = file.integers("tokenizer.ggml.token_type");
    if (types.size() != pieces_.size()) throw Error("tokenizer.ggml.token_type does not fit the tokens");
    if (positions_ < 2) throw Error("a context without room for [CLS] and [SEP]");
    for (size_t i = 0; i < pieces_.size(); ++i) {
        if (types[i] != kPiece) continue;
        const std::string_view piece = pieces_[i];
        const auto number = static_cast<int32_t>(i);
        if (piece.starts_with(kWordBegins)) beginning_.add(piece.substr(kWordBegins.size()), number);
        else going_on_.add(piece, number);
    }
    cls_ = special(file, "cls"), sep_ = special(file, "seperator"), unknown_ = special(file, "unknown");
}

int32_t WordPiece::special(const File& file, const char* role) const {
    const std::string key = std::string("tokenizer.ggml.") + role + "_token_id";
    const int64_t number = file.integer(key);
    if (number < 0 || static_cast<size_t>(number) >= pieces_.size())
        throw Error(key + " names no token: " + std::to_string(number));
    return static_cast<int32_t>(number);
}

std::vector<int32_t> WordPiece::tokens(std::string_view text) const {
    const size_t most = positions_ - 1;
    std::vector<int32_t> tokens = {cls_};
    Word word;
    const auto end_word = [&] {
        if (!word.ends.empty()) cut(word, tokens);
        word.clear();
    };
    for (size_t at = 0; at < text.size() && tokens.size() < most;) {
        const Folded folded = fold(next_point(text, at));
        if (folded.part != Part::OfWord) end_word();
        for (size_t i = 0; i < folded.count; ++i) word.add(folded.characters[i]);
        if (folded.part == Part::Alone) end_word();
    }
    end_word();
    if (tokens.size() > most) tokens.resize(most);
    tokens.push_back(sep_);
    return tokens;
}

// The longest piece that begins the word, then ever the longest that goes on.
void WordPiece::cut(const Word& word, std::vector<int32_t>& tokens) const {
    const size_t before = tokens.size(), length = word.ends.size();
    const auto give_up = [&] { tokens.resize(before), tokens.push_back(unknown_); };
    if (length > kLongestWord) return give_up();
    for (size_t first = 0; first < length;) {
        const Pieces& pieces = first == 0 ? beginning_ : going_on_;
        const size_t begin = first == 0 ? 0 : word.ends[first - 1];
        size_t last = std::min(length, first + pieces.longest);
        for (; last > first; --last) {
            const auto found =
                pieces.numbers.find(std::string_view(word.text).substr(begin, word.ends[last - 1] - begin));
            if (found == pieces.numbers.end()) continue;
            tokens.push_back(found->second);
            break;
        }
        if (last == first) return give_up();
        first = last;
    }
}

}  // namespace filament
