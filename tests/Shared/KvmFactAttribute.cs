namespace Vmm.Tests.Shared;

/// <summary>A test that needs /dev/kvm: skipped, visibly, where there is none.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class KvmFactAttribute : FactAttribute
{
    public KvmFactAttribute()
    {
        if (!Kvm.IsThere)
        {
            Skip = Kvm.WhyNot;
        }
    }

    /// <summary>GiB of memory that the host must have; 0 if any will do.</summary>
    public int MemoryGib
    {
        get => field;
        set
        {
            field = value;
            long has = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 30;
            if (Skip is null && has < value)
            {
                Skip = $"this host has {has} GiB of memory, the test wants {value}";
            }
        }
    }
}

/// <summary>A test of what only Intel's VT-x does; make test runs it in the host that Bochs interprets.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class VtxFactAttribute : FactAttribute
{
    public VtxFactAttribute()
    {
        if (!Kvm.IsThere || !Directory.Exists("/sys/module/kvm_intel"))
        {
            Skip = "no VT-x here; firmware/kvm-host/run --vt-x makes a host that has it";
        }
    }

    /// <summary>A parameter of kvm_intel that must be on; null if none has to.</summary>
    public string? Parameter
    {
        get => field;
        set
        {
            field = value;
            if (Skip is null && File.ReadAllText($"/sys/module/kvm_intel/parameters/{value}").Trim() is not ("Y" or "1"))
            {
                Skip = $"kvm_intel's {value} is off here";
            }
        }
    }
}

/// <summary>As <see cref="KvmFactAttribute"/>, with data.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class KvmTheoryAttribute : TheoryAttribute
{
    public KvmTheoryAttribute()
    {
        if (!Kvm.IsThere)
        {
            Skip = Kvm.WhyNot;
        }
    }
}

internal static class Kvm
{
    public const string WhyNot = "no usable /dev/kvm here; firmware/kvm-host/run makes a host that has one";

    public static bool IsThere { get; } = Probe();

    private static bool Probe()
    {
        try
        {
            using FileStream device = new("/dev/kvm", FileMode.Open, FileAccess.ReadWrite);
            return Directory.Exists("/sys/class/misc/kvm"); // not a file that somebody left there
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
