#include "tuner/read_file.hpp"

#include "tuner/error.hpp"

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

namespace crossover {

std::string read_file(const std::filesystem::path& path, const std::string& what) {
    const auto fail = [&](int error) {
        throw InputError(path.string(), "cannot read " + what + ": " + std::generic_category().message(error),
                         "name a file that you may read");
    };
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) fail(EISDIR);
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(errno);
    std::ostringstream text;
    if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
    if (file.bad() || text.fail()) fail(EIO);
    return std::move(text).str();
}

std::size_t byte_order_mark_size(std::string_view text) {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";
    return text.starts_with(kMark) ? kMark.size() : 0;
}

} // namespace crossover
