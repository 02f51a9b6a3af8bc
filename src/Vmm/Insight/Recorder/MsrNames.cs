namespace Vmm.Insight.Recorder;

/// <summary>Names of model-specific registers (Intel SDM volume 4, without the prefix IA32_).</summary>
internal static class MsrNames
{
    public static string Of(uint index) => index switch
    {
        0x10 => "TIME_STAMP_COUNTER",
        0x1b => "APIC_BASE",
        0x3a => "FEATURE_CONTROL",
        0x48 => "SPEC_CTRL",
        0x49 => "PRED_CMD",
        0x8b => "BIOS_SIGN_ID",
        0xfe => "MTRRCAP",
        0x174 => "SYSENTER_CS",
        0x175 => "SYSENTER_ESP",
        0x176 => "SYSENTER_EIP",
        0x1a0 => "MISC_ENABLE",
        0x277 => "PAT",
        0x2ff => "MTRR_DEF_TYPE",
        0x6e0 => "TSC_DEADLINE",
        0xda0 => "XSS",
        0xc000_0080 => "EFER",
        0xc000_0081 => "STAR",
        0xc000_0082 => "LSTAR",
        0xc000_0083 => "CSTAR",
        0xc000_0084 => "FMASK",
        0xc000_0100 => "FS_BASE",
        0xc000_0101 => "GS_BASE",
        0xc000_0102 => "KERNEL_GS_BASE",
        0xc000_0103 => "TSC_AUX",
        _ => $"MSR 0x{index:x}",
    };
}
