// The one error of the native part: what is wrong, in words for the person who typed the command.
#pragma once

#include <stdexcept>
#include <string>

namespace filament {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace filament
