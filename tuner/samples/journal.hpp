#pragma once
/// samples.csv: appended to while measuring, so that a killed run loses at most the trial in flight.

#include "tuner/samples/sample.hpp"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// First line of samples.csv.
extern const char* const kSamplesHeader;

/// Reads samples.csv. Tolerates Windows line ends and a UTF-8 byte order mark. @throws InputError with file:line for a
/// missing or wrong header, a truncated or malformed row, an unknown word, a message_bytes that contradicts the shape,
/// a second sample of the same session, point and algorithm.
std::vector<Sample> read_samples(const std::filesystem::path& path);

/// The same from a text with the header; `where` stands for the file in errors.
std::vector<Sample> parse_samples(const std::string& text, const std::string& where);
/// A whole samples.csv as text.
std::string samples_csv(std::span<const Sample> samples);

/// One CSV row, without line end. Text is quoted as RFC 4180 where needed; line breaks in it become spaces, so that a
/// row is a line.
std::string to_csv_row(const Sample& sample);

/// Writes a whole samples.csv (temporary file, rename).
void write_samples(const std::filesystem::path& path, std::span<const Sample> samples);

/// Appends to samples.csv; each append() is one write followed by a flush. Creates the file with its header, and locks
/// it as long as it is open.
class Journal {
  public:
    /// With `resume`, keeps the rows that are there, dropping a last line cut off in the middle; without, an existing
    /// file that holds samples is an InputError (nothing is lost by accident). @throws InputError if another process
    /// has it open.
    Journal(const std::filesystem::path& path, bool resume);
    /// Empties the file, whatever it holds. @throws InputError if another process has it open.
    static void clear(const std::filesystem::path& path);

    /// What was there at start.
    const std::vector<Sample>& existing() const { return existing_; }
    void append(std::span<const Sample> samples);

  private:
    struct Closer {
        void operator()(std::FILE* file) const noexcept { std::fclose(file); }
    };
    using File = std::unique_ptr<std::FILE, Closer>;

    static File open_locked(const std::filesystem::path& path);
    void write(const std::string& text);

    std::filesystem::path path_;
    std::vector<Sample> existing_;
    File file_;
};

} // namespace crossover
