// Loads each file named on the command line and writes some tokens with it, from two threads at once and in three
// streams of one thread, one of which begins with what is remembered; then one alone that guesses, and one of which
// some tokens are allowed: what sanitizers and emulators watch. Prints the tokens, or the error of a file that is
// refused. Ends with 0 either way.
#include <cstdio>
#include <thread>

#include "stream.hpp"

using namespace filament;

namespace {

Ids write(const std::shared_ptr<Runtime>& runtime) {
    const auto known = runtime->remember({1, 2, 3, 4});
    Stream first(runtime, {1, 2, 3}, 16, {}, {}, nullptr), second(runtime, Ids(200, 1), 16, {}, {}, nullptr),
        third(runtime, {1, 2, 3, 5}, 8, {}, {}, known.get());
    std::vector<Stream*> streams = {&first, &second, &third};
    Ids written;
    while (!first.ended()) {
        const Ids part = Stream::advance(streams, 4)[0];
        written.insert(written.end(), part.begin(), part.end());
    }
    return written;
}

void write_alone(const std::shared_ptr<Runtime>& runtime) {
    Stream guessing(runtime, {1, 2, 3, 4, 1, 2, 3, 4, 1, 2}, 40, {}, {}, nullptr, true);
    Stream* alone = &guessing;
    Stream::advance({&alone, 1}, 40);
    Stream held(runtime, {1, 2, 3}, 12, {}, {}, nullptr);
    alone = &held;
    for (uint8_t bits = 1; !held.ended(); ++bits) {
        if (!held.allow({&bits, 1})) Stream::advance({&alone, 1}, 1);
    }
}

void check(const char* path) {
    const auto runtime = std::make_shared<Runtime>(path, 2, kernels());
    const Ids tokens = write(runtime);
    write_alone(runtime);  // what a damaged model throws, it throws here, before there is a thread to be joined
    std::thread another([&] { write(runtime); });
    write(runtime);
    write_alone(runtime);
    another.join();
    std::printf("%s", runtime->model.kernels().name);
    for (const int32_t token : tokens) std::printf(" %d", token);
    std::printf("\n");
}

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        try {
            check(arguments[i]);
        } catch (const Error& e) {
            std::printf("error: %s\n", e.what());
        }
    }
}
