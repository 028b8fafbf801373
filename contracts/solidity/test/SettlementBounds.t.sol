// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";
import {Collar} from "./Collar.sol";

contract PostingBoundsTest is Cast {
    Collar internal collar;

    function setUp() public override {
        super.setUp();
        collar = new Collar();
        VM.prank(GOVERNANCE);
        settlement.setBounds(address(collar));
    }

    function refused(Messages.Header memory header, bytes memory reason) internal {
        VM.warp((uint256(header.interval) + 1) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(reason);
        settlement.post(header);
    }

    function outside(int64 lowest, int64 highest) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ISettlement.PriceOutOfBounds.selector, lowest, highest);
    }

    function test_a_header_carries_governances_tariffs() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        bytes memory reason = abi.encodeWithSelector(ISettlement.NotTheTariffs.selector, IMPORT, EXPORT);
        header.tariffImport += 1;
        refused(header, reason);
        header.tariffImport -= 1;
        header.tariffExport -= 1;
        refused(header, reason);
        VM.prank(GOVERNANCE);
        settlement.setTariffs(IMPORT, EXPORT - 1);
        post(header);
    }

    function test_tariffs_may_be_any_price_but_export_above_import() public {
        VM.startPrank(GOVERNANCE);
        settlement.setTariffs(type(int48).max, type(int48).min);
        (int64 dear, int64 cheap) = settlement.tariffs();
        assertTrue(dear == type(int48).max && cheap == type(int48).min);
        refusedTariffs(int64(type(int48).max) + 1, 0);
        refusedTariffs(0, int64(type(int48).min) - 1);
        refusedTariffs(0, 1);
    }

    function refusedTariffs(int64 newImport, int64 newExport) internal {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.WrongTariffs.selector, newImport, newExport));
        settlement.setTariffs(newImport, newExport);
    }

    function test_a_shared_spot_price_lies_between_the_tariffs() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        header.spotPrice = IMPORT + 1;
        refused(header, outside(EXPORT, IMPORT));
        header.spotPrice = EXPORT - 1;
        refused(header, outside(EXPORT, IMPORT));
        header.spotPrice = EXPORT;
        post(header);
        header = nextHeader(emptyRoot());
        header.spotPrice = IMPORT;
        post(header);
    }

    function test_an_auctioned_spot_price_may_lie_beyond_the_tariffs() public {
        ISettlement.Terms memory auctioned = terms();
        auctioned.spotRule = 2;
        deploy(auctioned);
        VM.prank(GOVERNANCE);
        settlement.setChallenges([COURT, COURT, COURT, COURT]);
        Messages.Header memory header = nextHeader(emptyRoot());
        header.spotPrice = EXPORT - 1;
        post(header);
    }

    function test_a_shared_price_keeps_the_collar() public {
        collar.set(100_000, 200_000, 10, true);
        Messages.Header memory header = nextHeader(emptyRoot());
        header.volumeWh = 1;
        header.spotPrice = 99_999;
        refused(header, outside(100_000, 200_000));
        header.spotPrice = 200_001;
        refused(header, outside(100_000, 200_000));
        header.spotPrice = 100_000;
        post(header);
        header = nextHeader(emptyRoot());
        header.volumeWh = 1;
        header.spotPrice = 200_000;
        post(header);
    }

    function test_volume_keeps_the_limit() public {
        collar.set(0, IMPORT, 10, true);
        Messages.Header memory header = nextHeader(emptyRoot());
        header.volumeWh = 11;
        refused(header, abi.encodeWithSelector(ISettlement.VolumeOutOfBounds.selector, 10));
        header.volumeWh = 10;
        post(header);
    }

    function test_closed_bounds_stop_posting_until_governance_takes_them_away() public {
        collar.set(0, IMPORT, 10, false);
        Messages.Header memory header = nextHeader(emptyRoot());
        refused(header, abi.encodeWithSelector(ISettlement.PostingClosed.selector));
        assertEq(settlement.bounds(), address(collar));
        VM.prank(GOVERNANCE);
        settlement.setBounds(address(0));
        header.volumeWh = 11;
        post(header);
    }
}
