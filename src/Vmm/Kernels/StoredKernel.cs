using System.Text.Json;
using System.Text.Json.Serialization;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>A kernel that vmm keeps under a name, with the modules that guests of <c>vmm run</c> may need.</summary>
/// <remarks>As JSON it is kernel.json beside the kernel. Only the user can write there; still everything is checked, as a full
/// disk may have left it incomplete.</remarks>
internal sealed record StoredKernel
{
    public const int CurrentFormat = 1;
    public const string FileName = "kernel.json";

    public required int Format { get; init; }

    /// <summary>As uname -r in the guest, and the name of the directory: <c>6.1.0-56-cloud-amd64</c>.</summary>
    public required string Release { get; init; }

    /// <summary>The name by which it was asked for: <c>debian</c>, <c>host</c>, or what <c>--name</c> said.</summary>
    public required string Name { get; init; }

    /// <summary>The package or file that it is from, as lists show it.</summary>
    public required string Source { get; init; }

    public required DateTimeOffset Added { get; init; }

    /// <summary>Those of <see cref="GuestModules.Wanted"/> that need no file.</summary>
    public required IReadOnlyList<string> BuiltIn { get; init; }

    /// <summary>The files to be loaded for the others, in that order.</summary>
    public required IReadOnlyDictionary<string, IReadOnlyList<string>> Modules { get; init; }

    /// <summary>Is it known what is built in and what is a module? Not for a kernel that was added without modules.</summary>
    public required bool KnowsModules { get; init; }

    /// <summary>Its directory.</summary>
    [JsonIgnore]
    public string Directory { get; init; } = "";

    [JsonIgnore]
    public string KernelPath => Path.Combine(Directory, $"vmlinuz-{Release}");

    public string ModulePath(string file) => Path.Combine(Directory, "modules", file);

    /// <summary>Reads the kernel.json of a directory.</summary>
    /// <returns>Null where there is none, or it is incomplete.</returns>
    public static StoredKernel? TryRead(string directory)
    {
        try
        {
            using FileStream file = File.OpenRead(Path.Combine(directory, FileName));
            StoredKernel? kernel = JsonSerializer.Deserialize(file, StoredKernelJson.Default.StoredKernel);
            return kernel is { Format: CurrentFormat } && kernel.Release == Path.GetFileName(directory)
                && kernel.Modules.Values.All(static files => files.All(IsPlainName))
                    ? kernel with { Directory = directory }
                    : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    public void Write(string directory)
    {
        using FileStream file = File.Create(Path.Combine(directory, FileName));
        JsonSerializer.Serialize(file, this, StoredKernelJson.Default.StoredKernel);
    }

    /// <summary>True for a file name without directories, so that it cannot point outside of the store.</summary>
    public static bool IsPlainName(string name) =>
        name.Length is > 0 and <= 128 && name[0] != '.'
        && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '+' or '~');
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(StoredKernel))]
internal sealed partial class StoredKernelJson : JsonSerializerContext;
