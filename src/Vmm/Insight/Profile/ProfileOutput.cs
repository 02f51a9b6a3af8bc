using System.Text;
using Vmm.Host;

namespace Vmm.Insight.Profile;

internal enum ProfileFormat
{
    Table,
    Json,
    Folded,
}

/// <summary>Where a profile goes: a file, or standard error, as standard output is the guest's console.</summary>
internal sealed class ProfileOutput : IDisposable
{
    private readonly ProfileFormat _format;

    private ProfileOutput(ProfileFormat format, OutputFile? file) => (_format, File) = (format, file);

    /// <summary>Null for standard error.</summary>
    public OutputFile? File { get; }

    /// <param name="path">Null for standard error.</param>
    /// <param name="format">Null for what the file's name ends in: .json, .folded, else a table.</param>
    /// <param name="option">Which asked for it, for messages.</param>
    /// <exception cref="UsageException">The file cannot be written.</exception>
    public static ProfileOutput Open(string? path, ProfileFormat? format, string option) => new(
        format ?? Path.GetExtension(path) switch
        {
            ".json" => ProfileFormat.Json,
            ".folded" => ProfileFormat.Folded,
            _ => ProfileFormat.Table,
        },
        path is null ? null : OutputFile.Open(path, option));

    public void Write(ExitProfile profile)
    {
        string text = _format switch
        {
            ProfileFormat.Json => ProfileJson.Format(profile),
            ProfileFormat.Folded => FoldedStacks.Format(profile),
            _ => ProfileText.Format(profile),
        };
        if (File is null)
        {
            Stderr.Write(text);
        }
        else
        {
            File.Write(Encoding.UTF8.GetBytes(text));
        }
    }

    public void Dispose() => File?.Dispose();
}
