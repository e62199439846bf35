// Loads each file named on the command line and writes some tokens with it, in two streams at once: what sanitizers and
// emulators watch. Prints the tokens, or the error of a file that is refused. Ends with 0 either way.
#include <cstdio>
#include <thread>

#include "stream.hpp"

using namespace filament;

namespace {

std::vector<int32_t> write(const std::shared_ptr<Runtime>& runtime) {
    Stream stream(runtime, {1, 2, 3}, 16, {}, {});
    return stream.next(16);
}

void check(const char* path) {
    const auto runtime = std::make_shared<Runtime>(path, 2, kernels());
    const std::vector<int32_t> tokens = write(runtime);
    std::thread another([&] { write(runtime); });
    write(runtime);
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
