// Loads each file named on the command line and writes some tokens with it: what the sanitizers watch. Prints the error of
// a file that is refused. Ends with 0 either way.
#include <cstdio>
#include <thread>

#include "stream.hpp"

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        try {
            const auto runtime = std::make_shared<filament::Runtime>(arguments[i], 2, filament::kernels());
            const auto write = [&] {
                filament::Stream stream(runtime, {1, 2, 3}, 8, {}, {});
                stream.next(8);
            };
            try {
                write();
            } catch (const filament::Error& e) {
                std::printf("%s: %s\n", arguments[i], e.what());
                continue;
            }
            std::thread another(write);  // two streams of one model
            write();
            another.join();
        } catch (const filament::Error& e) {
            std::printf("%s\n", e.what());
        }
    }
}
