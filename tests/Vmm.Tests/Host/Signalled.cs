namespace Vmm.Tests.Host;

/// <summary>Tests that change what signals do to the process: one after another.</summary>
[CollectionDefinition(Name)]
public sealed class Signalled
{
    public const string Name = "signals";
}
